// Mathematics: common, integer, relational and geometric functions of the Metal standard library.
//
// Every floating point function is computed in float by the C library and rounded to its type, so
// results differ from a GPU's in the last digits. fast:: and precise:: name the same functions.
#pragma once
#include "metal_sim/matrices.h"

extern "C" {
float expf(float), exp2f(float), exp10f(float), logf(float), log2f(float), log10f(float);
float powf(float, float), sinf(float), cosf(float), tanf(float), asinf(float), acosf(float);
float atanf(float), atan2f(float, float), sinhf(float), coshf(float), tanhf(float);
float asinhf(float), acoshf(float), atanhf(float), fmodf(float, float), ldexpf(float, int);
float frexpf(float, int*), modff(float, float*), nextafterf(float, float), roundf(float);
}

namespace metal {
constexpr METAL_SIM_INLINE float within_unit(float x) {
  return __builtin_fminf(__builtin_fmaxf(x, 0.0f), 1.0f);
}

// Before the functions of lanes, which see the scalar ones above them only.
#define METAL_SIM_INTEGER(T)                                                                       \
  constexpr METAL_SIM_INLINE T abs(T x) { return T(x < T(0) ? -x : x); }                           \
  constexpr METAL_SIM_INLINE T min(T a, T b) { return a < b ? a : b; }                             \
  constexpr METAL_SIM_INLINE T max(T a, T b) { return a > b ? a : b; }                             \
  constexpr METAL_SIM_INLINE T clamp(T x, T low, T high) { return min(max(x, low), high); }        \
  METAL_SIM_INLINE T absdiff(T a, T b) { return T(a > b ? a - b : b - a); }                        \
  METAL_SIM_INLINE T popcount(T x) {                                                               \
    return T(__builtin_popcountll((make_unsigned_t<T>)x));                                         \
  }                                                                                                \
  METAL_SIM_INLINE T clz(T x) {                                                                    \
    constexpr int width = 8 * sizeof(T);                                                           \
    return x == 0 ? T(width) : T(__builtin_clzll((make_unsigned_t<T>)x) - (64 - width));           \
  }                                                                                                \
  METAL_SIM_INLINE T ctz(T x) {                                                                    \
    return x == 0 ? T(8 * sizeof(T)) : T(__builtin_ctzll((make_unsigned_t<T>)x));                  \
  }                                                                                                \
  METAL_SIM_INLINE T rotate(T x, T by) {                                                           \
    constexpr unsigned width = 8 * sizeof(T);                                                      \
    unsigned left = (unsigned)by & (width - 1), right = (width - left) & (width - 1);              \
    return T(((make_unsigned_t<T>)x << left) | ((make_unsigned_t<T>)x >> right));                  \
  }                                                                                                \
  METAL_SIM_INLINE T reverse_bits(T x) {                                                           \
    return T(__builtin_bitreverse64((make_unsigned_t<T>)x) >> (64 - 8 * sizeof(T)));               \
  }                                                                                                \
  METAL_SIM_INLINE T addsat(T a, T b) {                                                            \
    __int128 sum = (__int128)a + b, low = numeric_limits<T>::min();                                \
    __int128 high = numeric_limits<T>::max();                                                      \
    return T(sum < low ? low : sum > high ? high : sum);                                           \
  }                                                                                                \
  METAL_SIM_INLINE T subsat(T a, T b) {                                                            \
    __int128 sum = (__int128)a - b, low = numeric_limits<T>::min();                                \
    __int128 high = numeric_limits<T>::max();                                                      \
    return T(sum < low ? low : sum > high ? high : sum);                                           \
  }                                                                                                \
  METAL_SIM_INLINE T hadd(T a, T b) { return T(((__int128)a + b) >> 1); }                          \
  METAL_SIM_INLINE T rhadd(T a, T b) { return T(((__int128)a + b + 1) >> 1); }                     \
  METAL_SIM_INLINE T mulhi(T a, T b) { return T(((__int128)a * (__int128)b) >> 8 * sizeof(T)); }   \
  METAL_SIM_INLINE T madhi(T a, T b, T c) { return T(mulhi(a, b) + c); }                           \
  METAL_SIM_INLINE T madsat(T a, T b, T c) {                                                       \
    __int128 sum = (__int128)a * b + c, low = numeric_limits<T>::min();                            \
    __int128 high = numeric_limits<T>::max();                                                      \
    return T(sum < low ? low : sum > high ? high : sum);                                           \
  }                                                                                                \
  METAL_SIM_INLINE T extract_bits(T x, uint offset, uint bits) {                                   \
    if (bits == 0) return T(0);                                                                    \
    constexpr int width = 8 * sizeof(T);                                                           \
    T high = T((make_unsigned_t<T>)x << (width - offset - bits));                                  \
    return T(high >> (width - bits));                                                              \
  }                                                                                                \
  METAL_SIM_INLINE T insert_bits(T base, T insert, uint offset, uint bits) {                       \
    make_unsigned_t<T> mask = bits ? (make_unsigned_t<T>(-1) >> (8 * sizeof(T) - bits)) << offset  \
                                   : 0;                                                            \
    return T(((make_unsigned_t<T>)base & ~mask) | (((make_unsigned_t<T>)insert << offset) & mask));\
  }
METAL_SIM_INTEGER(char)
METAL_SIM_INTEGER(uchar)
METAL_SIM_INTEGER(short)
METAL_SIM_INTEGER(ushort)
METAL_SIM_INTEGER(int)
METAL_SIM_INTEGER(uint)
METAL_SIM_INTEGER(long)
METAL_SIM_INTEGER(ulong)

#define METAL_SIM_UNARY_OF(T, NAME, VALUE)                                                         \
  METAL_SIM_INLINE T NAME(T given) { float x = (float)given; return T(VALUE); }
#define METAL_SIM_UNARY(NAME, VALUE)                                                               \
  METAL_SIM_UNARY_OF(float, NAME, VALUE)                                                           \
  METAL_SIM_UNARY_OF(half, NAME, VALUE)                                                            \
  METAL_SIM_UNARY_OF(bfloat, NAME, VALUE)                                                          \
  template <class T, int N> METAL_SIM_INLINE vec<T, N> NAME(vec<T, N> v) {                         \
    METAL_SIM_EACH(i, N) v.d[i] = NAME(v.d[i]);                                                    \
    return v;                                                                                      \
  }
#define METAL_SIM_BINARY_OF(T, NAME, VALUE)                                                        \
  METAL_SIM_INLINE T NAME(T a, T b) { float x = (float)a, y = (float)b; return T(VALUE); }
#define METAL_SIM_BINARY_LANES(NAME)                                                               \
  template <class T, int N> METAL_SIM_INLINE vec<T, N> NAME(vec<T, N> a, vec<T, N> b) {            \
    METAL_SIM_EACH(i, N) a.d[i] = NAME(a.d[i], b.d[i]);                                            \
    return a;                                                                                      \
  }                                                                                                \
  template <class T, int N> METAL_SIM_INLINE vec<T, N> NAME(vec<T, N> a, T b) {                    \
    return NAME(a, vec<T, N>(b));                                                                  \
  }                                                                                                \
  template <class T, int N> METAL_SIM_INLINE vec<T, N> NAME(T a, vec<T, N> b) {                    \
    return NAME(vec<T, N>(a), b);                                                                  \
  }
#define METAL_SIM_BINARY(NAME, VALUE)                                                              \
  METAL_SIM_BINARY_OF(float, NAME, VALUE)                                                          \
  METAL_SIM_BINARY_OF(half, NAME, VALUE)                                                           \
  METAL_SIM_BINARY_OF(bfloat, NAME, VALUE)                                                         \
  METAL_SIM_BINARY_LANES(NAME)

METAL_SIM_UNARY(exp, expf(x))
METAL_SIM_UNARY(exp2, exp2f(x))
METAL_SIM_UNARY(exp10, exp10f(x))
METAL_SIM_UNARY(log, logf(x))
METAL_SIM_UNARY(log2, log2f(x))
METAL_SIM_UNARY(log10, log10f(x))
METAL_SIM_UNARY(sin, sinf(x))
METAL_SIM_UNARY(cos, cosf(x))
METAL_SIM_UNARY(tan, tanf(x))
METAL_SIM_UNARY(asin, asinf(x))
METAL_SIM_UNARY(acos, acosf(x))
METAL_SIM_UNARY(atan, atanf(x))
METAL_SIM_UNARY(sinh, sinhf(x))
METAL_SIM_UNARY(cosh, coshf(x))
METAL_SIM_UNARY(tanh, tanhf(x))
METAL_SIM_UNARY(asinh, asinhf(x))
METAL_SIM_UNARY(acosh, acoshf(x))
METAL_SIM_UNARY(atanh, atanhf(x))
METAL_SIM_UNARY(sinpi, sinf(x * M_PI_F))
METAL_SIM_UNARY(cospi, cosf(x * M_PI_F))
METAL_SIM_UNARY(tanpi, tanf(x * M_PI_F))
METAL_SIM_UNARY(sqrt, __builtin_sqrtf(x))
METAL_SIM_UNARY(rsqrt, 1.0f / __builtin_sqrtf(x))
METAL_SIM_UNARY(floor, __builtin_floorf(x))
METAL_SIM_UNARY(ceil, __builtin_ceilf(x))
METAL_SIM_UNARY(trunc, __builtin_truncf(x))
METAL_SIM_UNARY(rint, __builtin_rintf(x))
METAL_SIM_UNARY(round, roundf(x))
METAL_SIM_UNARY(fabs, __builtin_fabsf(x))
METAL_SIM_UNARY(abs, __builtin_fabsf(x))
METAL_SIM_UNARY(fract, __builtin_fminf(x - __builtin_floorf(x), 0x1.fffffep-1f))
METAL_SIM_UNARY(sign, x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f)
METAL_SIM_UNARY(saturate, within_unit(x))
METAL_SIM_BINARY(pow, powf(x, y))
METAL_SIM_BINARY(powr, powf(x, y))
METAL_SIM_BINARY(atan2, atan2f(x, y))
METAL_SIM_BINARY(fmod, fmodf(x, y))
METAL_SIM_BINARY(fmin, __builtin_fminf(x, y))
METAL_SIM_BINARY(fmax, __builtin_fmaxf(x, y))
METAL_SIM_BINARY(min, __builtin_fminf(x, y))
METAL_SIM_BINARY(max, __builtin_fmaxf(x, y))
METAL_SIM_BINARY(copysign, __builtin_copysignf(x, y))
METAL_SIM_BINARY(divide, x / y)
METAL_SIM_BINARY(fdim, x > y ? x - y : 0.0f)
METAL_SIM_BINARY(step, y < x ? 0.0f : 1.0f)
METAL_SIM_BINARY(nextafter, nextafterf(x, y))

#define METAL_SIM_FLOATING(T)                                                                      \
  METAL_SIM_INLINE T clamp(T x, T low, T high) { return min(max(x, low), high); }                  \
  METAL_SIM_INLINE T mix(T x, T y, T a) { return T((float)x + ((float)y - (float)x) * (float)a); } \
  METAL_SIM_INLINE T fma(T x, T y, T z) {                                                          \
    return T(__builtin_fmaf((float)x, (float)y, (float)z));                                        \
  }                                                                                                \
  METAL_SIM_INLINE T smoothstep(T low, T high, T x) {                                              \
    float t = within_unit(((float)x - (float)low) / ((float)high - (float)low));                   \
    return T(t * t * (3.0f - 2.0f * t));                                                           \
  }                                                                                                \
  METAL_SIM_INLINE bool isnan(T x) { return __builtin_isnan((float)x); }                           \
  METAL_SIM_INLINE bool isinf(T x) { return __builtin_isinf((float)x); }                           \
  METAL_SIM_INLINE bool isfinite(T x) { return __builtin_isfinite((float)x); }                     \
  METAL_SIM_INLINE bool isnormal(T x) { return __builtin_isnormal((float)x); }                     \
  METAL_SIM_INLINE bool isordered(T x, T y) { return !isnan(x) && !isnan(y); }                     \
  METAL_SIM_INLINE bool isunordered(T x, T y) { return isnan(x) || isnan(y); }                     \
  METAL_SIM_INLINE bool signbit(T x) { return __builtin_signbit((float)x); }                       \
  METAL_SIM_INLINE T ldexp(T x, int k) { return T(ldexpf((float)x, k)); }                          \
  METAL_SIM_INLINE int ilogb(T x) { return __builtin_ilogbf((float)x); }                           \
  METAL_SIM_INLINE T frexp(T x, int& exponent) {                                                   \
    int found;                                                                                     \
    float r = frexpf((float)x, &found);                                                            \
    exponent = found;                                                                              \
    return T(r);                                                                                   \
  }                                                                                                \
  METAL_SIM_INLINE T modf(T x, T& whole) {                                                         \
    float found, r = modff((float)x, &found);                                                      \
    whole = T(found);                                                                              \
    return T(r);                                                                                   \
  }                                                                                                \
  METAL_SIM_INLINE T sincos(T x, T& cosine) {                                                      \
    cosine = T(cosf((float)x));                                                                    \
    return T(sinf((float)x));                                                                      \
  }
METAL_SIM_FLOATING(float)
METAL_SIM_FLOATING(half)
METAL_SIM_FLOATING(bfloat)

METAL_SIM_INLINE int mul24(int a, int b) { return a * b; }
METAL_SIM_INLINE uint mul24(uint a, uint b) { return a * b; }
METAL_SIM_INLINE int mad24(int a, int b, int c) { return a * b + c; }
METAL_SIM_INLINE uint mad24(uint a, uint b, uint c) { return a * b + c; }
METAL_SIM_BINARY_LANES(rotate)
METAL_SIM_BINARY_LANES(absdiff)
METAL_SIM_BINARY_LANES(addsat)
METAL_SIM_BINARY_LANES(subsat)
METAL_SIM_BINARY_LANES(hadd)
METAL_SIM_BINARY_LANES(rhadd)
METAL_SIM_BINARY_LANES(mulhi)
METAL_SIM_BINARY_LANES(mul24)

#define METAL_SIM_INTEGER_LANES(NAME)                                                                      \
  template <class T, int N, class = enable_if_t<is_integral_v<T>>>                                 \
  METAL_SIM_INLINE vec<T, N> NAME(vec<T, N> v) {                                                   \
    METAL_SIM_EACH(i, N) v.d[i] = NAME(v.d[i]);                                                    \
    return v;                                                                                      \
  }
METAL_SIM_INTEGER_LANES(popcount)
METAL_SIM_INTEGER_LANES(clz)
METAL_SIM_INTEGER_LANES(ctz)
METAL_SIM_INTEGER_LANES(reverse_bits)
template <class T, int N>
METAL_SIM_INLINE vec<T, N> extract_bits(vec<T, N> v, uint offset, uint bits) {
  METAL_SIM_EACH(i, N) v.d[i] = extract_bits(v.d[i], offset, bits);
  return v;
}
template <class T, int N>
METAL_SIM_INLINE vec<T, N> insert_bits(vec<T, N> base, vec<T, N> insert, uint offset, uint bits) {
  METAL_SIM_EACH(i, N) base.d[i] = insert_bits(base.d[i], insert.d[i], offset, bits);
  return base;
}

template <class T> METAL_SIM_INLINE T min3(T a, T b, T c) { return min(min(a, b), c); }
template <class T> METAL_SIM_INLINE T max3(T a, T b, T c) { return max(max(a, b), c); }
template <class T> METAL_SIM_INLINE T fmin3(T a, T b, T c) { return fmin(fmin(a, b), c); }
template <class T> METAL_SIM_INLINE T fmax3(T a, T b, T c) { return fmax(fmax(a, b), c); }
template <class T> METAL_SIM_INLINE T median3(T a, T b, T c) {
  return max(min(a, b), min(max(a, b), c));
}
#define METAL_SIM_TERNARY_LANES(NAME)                                                              \
  template <class T, int N>                                                                        \
  METAL_SIM_INLINE vec<T, N> NAME(vec<T, N> a, vec<T, N> b, vec<T, N> c) {                         \
    METAL_SIM_EACH(i, N) a.d[i] = NAME(a.d[i], b.d[i], c.d[i]);                                    \
    return a;                                                                                      \
  }
METAL_SIM_TERNARY_LANES(clamp)
METAL_SIM_TERNARY_LANES(mix)
METAL_SIM_TERNARY_LANES(fma)
METAL_SIM_TERNARY_LANES(smoothstep)
METAL_SIM_TERNARY_LANES(madhi)
METAL_SIM_TERNARY_LANES(madsat)
METAL_SIM_TERNARY_LANES(mad24)
template <class T, int N> METAL_SIM_INLINE vec<T, N> clamp(vec<T, N> x, T low, T high) {
  return clamp(x, vec<T, N>(low), vec<T, N>(high));
}
template <class T, int N> METAL_SIM_INLINE vec<T, N> mix(vec<T, N> x, vec<T, N> y, T a) {
  return mix(x, y, vec<T, N>(a));
}

template <class T> METAL_SIM_INLINE T fmedian3(T a, T b, T c) {
  return fmax(fmin(a, b), fmin(fmax(a, b), c));
}
template <class T, int N> METAL_SIM_INLINE vec<T, N> smoothstep(T low, T high, vec<T, N> x) {
  return smoothstep(vec<T, N>(low), vec<T, N>(high), x);
}
template <class T, int N> METAL_SIM_INLINE vec<T, N> ldexp(vec<T, N> x, vec<int, N> k) {
  METAL_SIM_EACH(i, N) x.d[i] = ldexp(x.d[i], k.d[i]);
  return x;
}
template <class T, int N> METAL_SIM_INLINE vec<int, N> ilogb(vec<T, N> x) {
  vec<int, N> exponents(0);
  METAL_SIM_EACH(i, N) exponents.d[i] = ilogb(x.d[i]);
  return exponents;
}

template <class T> METAL_SIM_INLINE T select(T a, T b, bool c) { return c ? b : a; }
template <class T, int N>
METAL_SIM_INLINE vec<T, N> select(vec<T, N> a, vec<T, N> b, vec<bool, N> c) {
  METAL_SIM_EACH(i, N) a.d[i] = c.d[i] ? b.d[i] : a.d[i];
  return a;
}
METAL_SIM_INLINE bool any(bool x) { return x; }
METAL_SIM_INLINE bool all(bool x) { return x; }
template <int N> METAL_SIM_INLINE bool any(vec<bool, N> v) {
  bool found = false;
  METAL_SIM_EACH(i, N) found |= v.d[i];
  return found;
}
template <int N> METAL_SIM_INLINE bool all(vec<bool, N> v) {
  bool held = true;
  METAL_SIM_EACH(i, N) held &= v.d[i];
  return held;
}
#define METAL_SIM_RELATIONAL(NAME)                                                                 \
  template <class T, int N> METAL_SIM_INLINE vec<bool, N> NAME(vec<T, N> v) {                      \
    vec<bool, N> truths(false);                                                                    \
    METAL_SIM_EACH(i, N) truths.d[i] = NAME(v.d[i]);                                               \
    return truths;                                                                                 \
  }
METAL_SIM_RELATIONAL(isnan)
METAL_SIM_RELATIONAL(isinf)
METAL_SIM_RELATIONAL(isfinite)
METAL_SIM_RELATIONAL(isnormal)
METAL_SIM_RELATIONAL(signbit)
template <class T, int N> METAL_SIM_INLINE vec<bool, N> isunordered(vec<T, N> a, vec<T, N> b) {
  return isnan(a) || isnan(b);
}
template <class T, int N> METAL_SIM_INLINE vec<bool, N> isordered(vec<T, N> a, vec<T, N> b) {
  return !isunordered(a, b);
}

template <class T, int N> METAL_SIM_INLINE T dot(vec<T, N> a, vec<T, N> b) {
  T sum = T(a.d[0] * b.d[0]);
  for (int i = 1; i < N; i++) sum = T(sum + a.d[i] * b.d[i]);
  return sum;
}
template <class T, int N> METAL_SIM_INLINE T length_squared(vec<T, N> v) { return dot(v, v); }
template <class T, int N> METAL_SIM_INLINE T length(vec<T, N> v) { return sqrt(dot(v, v)); }
template <class T, int N> METAL_SIM_INLINE T distance_squared(vec<T, N> a, vec<T, N> b) {
  return length_squared(a - b);
}
template <class T, int N> METAL_SIM_INLINE T distance(vec<T, N> a, vec<T, N> b) {
  return length(a - b);
}
template <class T, int N> METAL_SIM_INLINE vec<T, N> normalize(vec<T, N> v) {
  return v * rsqrt(dot(v, v));
}
template <class T> METAL_SIM_INLINE vec<T, 3> cross(vec<T, 3> a, vec<T, 3> b) {
  return vec<T, 3>(a.yzx * b.zxy - a.zxy * b.yzx);
}
template <class V> METAL_SIM_INLINE V faceforward(V normal, V incident, V reference) {
  return dot(reference, incident) < 0 ? normal : -normal;
}
template <class T, int N> METAL_SIM_INLINE vec<T, N> reflect(vec<T, N> incident, vec<T, N> normal) {
  return incident - T(2 * dot(normal, incident)) * normal;
}
template <class T, int N>
METAL_SIM_INLINE vec<T, N> refract(vec<T, N> incident, vec<T, N> normal, T eta) {
  T along = dot(normal, incident), k = T(1 - eta * eta * (1 - along * along));
  return k < 0 ? vec<T, N>(T(0)) : eta * incident - T(eta * along + sqrt(k)) * normal;
}

namespace fast {
using namespace metal;
}
namespace precise {
using namespace metal;
}
}  // namespace metal
