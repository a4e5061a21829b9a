// Scalar types, constants and type traits of the Metal standard library, for clang on a CPU.
//
// The same headers serve two passes: the one that is run, where every address space is the same
// memory, and the one that only checks syntax (METAL_SIM_ADDRESS_SPACES), where device, constant
// and threadgroup are distinct address spaces of clang, so that mixing them is an error as in Metal.
#pragma once

#define __METAL_VERSION__ 310
#define __METAL__ 1

// Library code carries no debug information: what it does is reported at the line that calls it.
// So is the alignment of what it is given; its own accesses need no check of theirs.
#define METAL_SIM_INLINE inline __attribute__((always_inline, nodebug, no_sanitize("alignment")))
#define METAL_SIM_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))
#define METAL_FUNC inline __attribute__((always_inline))
#define METAL_SIM_EACH(i, count) _Pragma("clang loop unroll(full)") for (int i = 0; i < (count); i++)

#if __has_feature(thread_sanitizer) && !defined(METAL_SIM_TRIVIAL_COPIES)
#define METAL_SIM_CHECKED_COPIES
#endif
// In registers, though checked copies are no trivial ones.
#define METAL_SIM_BY_VALUE __attribute__((trivial_abi))

#ifdef METAL_SIM_ADDRESS_SPACES
#define METAL_SIM_DEVICE __attribute__((address_space(1)))
#define METAL_SIM_CONSTANT __attribute__((address_space(2)))
#define METAL_SIM_GROUP __attribute__((address_space(3)))
#endif

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __INTPTR_TYPE__ intptr_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef _Float16 half;
typedef __bf16 bfloat;

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define HUGE_VALH ((half)__builtin_inff())
#define MAXFLOAT 3.40282346638528859812e+38f
#define FLT_MAX 3.40282346638528859812e+38f
#define FLT_MIN 1.17549435e-38f
#define FLT_EPSILON 1.19209290e-07f
#define FLT_DIG 6
#define FLT_MANT_DIG 24
#define MAXHALF ((half)65504.0f)
#define HALF_MAX ((half)65504.0f)
#define HALF_MIN ((half)6.103515625e-05f)
#define HALF_EPSILON ((half)0.0009765625f)
#define CHAR_BIT 8
#define CHAR_MAX 127
#define CHAR_MIN (-128)
#define SCHAR_MAX 127
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807l
#define LONG_MIN (-9223372036854775807l - 1)
#define ULONG_MAX 18446744073709551615ul
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.434294481903251827651f
#define M_LN2_F 0.693147180559945309417f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.785398163397448309616f
#define M_1_PI_F 0.318309886183790671538f
#define M_2_PI_F 0.636619772367581343076f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.707106781186547524401f
#define M_E_H ((half)M_E_F)
#define M_LOG2E_H ((half)M_LOG2E_F)
#define M_LOG10E_H ((half)M_LOG10E_F)
#define M_LN2_H ((half)M_LN2_F)
#define M_LN10_H ((half)M_LN10_F)
#define M_PI_H ((half)M_PI_F)
#define M_PI_2_H ((half)M_PI_2_F)
#define M_PI_4_H ((half)M_PI_4_F)
#define M_1_PI_H ((half)M_1_PI_F)
#define M_2_PI_H ((half)M_2_PI_F)
#define M_2_SQRTPI_H ((half)M_2_SQRTPI_F)
#define M_SQRT2_H ((half)M_SQRT2_F)
#define M_SQRT1_2_H ((half)M_SQRT1_2_F)

constexpr half operator""h(long double value) { return (half)value; }

namespace metal {
using ::bfloat;

template <class T, T V>
struct integral_constant {
  static constexpr T value = V;
  typedef T value_type;
  typedef integral_constant type;
  constexpr operator T() const { return V; }
  constexpr T operator()() const { return V; }
};
template <bool B> using bool_constant = integral_constant<bool, B>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

template <bool, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool B, class T = void> using enable_if_t = typename enable_if<B, T>::type;
template <bool B, class T, class U> struct conditional { typedef U type; };
template <class T, class U> struct conditional<true, T, U> { typedef T type; };
template <bool B, class T, class U> using conditional_t = typename conditional<B, T, U>::type;
template <class...> using void_t = void;
template <class T> T&& declval();

template <class T, class U> constexpr bool is_same_v = __is_same(T, U);
template <class T, class U> struct is_same : bool_constant<__is_same(T, U)> {};
template <class T> struct remove_cv { typedef __remove_cv(T) type; };
template <class T> using remove_cv_t = __remove_cv(T);
template <class T> struct remove_const { typedef __remove_const(T) type; };
template <class T> using remove_const_t = __remove_const(T);
template <class T> struct remove_volatile { typedef __remove_volatile(T) type; };
template <class T> struct remove_reference { typedef __remove_reference_t(T) type; };
template <class T> using remove_reference_t = __remove_reference_t(T);
template <class T> struct remove_pointer { typedef __remove_pointer(T) type; };
template <class T> using remove_pointer_t = __remove_pointer(T);
template <class T> struct decay { typedef __decay(T) type; };
template <class T> using decay_t = __decay(T);
template <class T> struct remove_addrspace { typedef T type; };
template <class T> using remove_addrspace_t = T;
template <class T> struct make_unsigned { typedef __make_unsigned(T) type; };
template <class T> using make_unsigned_t = __make_unsigned(T);
template <class T> struct make_signed { typedef __make_signed(T) type; };
template <class T> using make_signed_t = __make_signed(T);

template <class T> constexpr bool is_const_v = __is_const(T);
template <class T> constexpr bool is_pointer_v = __is_pointer(T);
template <class T> struct is_pointer : bool_constant<__is_pointer(T)> {};
template <class T> constexpr bool is_class_v = __is_class(T);
template <class T> constexpr bool is_enum_v = __is_enum(T);
template <class B, class D> constexpr bool is_base_of_v = __is_base_of(B, D);
template <class F, class T> constexpr bool is_convertible_v = __is_convertible(F, T);
template <class F, class T> struct is_convertible : bool_constant<__is_convertible(F, T)> {};
template <class T> constexpr bool is_integral_v = __is_integral(T);
template <class T> struct is_integral : bool_constant<__is_integral(T)> {};
template <class T> constexpr bool is_floating_point_v =
    __is_same(remove_cv_t<T>, float) || __is_same(remove_cv_t<T>, half) || __is_same(remove_cv_t<T>, bfloat);
template <class T> struct is_floating_point : bool_constant<is_floating_point_v<T>> {};
template <class T> constexpr bool is_arithmetic_v = is_integral_v<T> || is_floating_point_v<T>;
template <class T> struct is_arithmetic : bool_constant<is_arithmetic_v<T>> {};
template <class T> constexpr bool is_scalar_v = is_arithmetic_v<T> || is_pointer_v<T>;
template <class T> constexpr bool is_signed_v = is_floating_point_v<T> || __is_signed(T);
template <class T> struct is_signed : bool_constant<is_signed_v<T>> {};
template <class T> constexpr bool is_unsigned_v = __is_unsigned(T);
template <class T> struct is_unsigned : bool_constant<is_unsigned_v<T>> {};

template <class... A> struct disjunction : bool_constant<(bool(A::value) || ...)> {};
template <class... A> struct conjunction : bool_constant<(bool(A::value) && ...)> {};
template <class... A> using _disjunction = disjunction<A...>;
template <class... A> using _conjunction = conjunction<A...>;
template <class A> struct negation : bool_constant<!bool(A::value)> {};
template <class T, T...> struct integer_sequence {};
template <size_t... I> using index_sequence = integer_sequence<size_t, I...>;
template <size_t N> using make_index_sequence = __make_integer_seq<integer_sequence, size_t, N>;

template <class T> using uniform = T;
template <class T> constexpr METAL_SIM_INLINE T make_uniform(T value) { return value; }

template <class T, int N> struct vec;
template <class T, int N> struct packed_vec;
template <class T> constexpr bool is_vector_v = false;
template <class T, int N> constexpr bool is_vector_v<vec<T, N>> = true;
template <class T> struct is_vector : bool_constant<is_vector_v<remove_cv_t<T>>> {};

template <class T> struct numeric_limits { static constexpr bool is_specialized = false; };
#define METAL_SIM_INTEGER_LIMITS(T, LOWEST, HIGHEST, DIGITS)                                       \
  template <> struct numeric_limits<T> {                                                           \
    static constexpr bool is_specialized = true, is_integer = true, has_infinity = false;          \
    static constexpr bool is_signed = (T)-1 < (T)0;                                                \
    static constexpr int digits = DIGITS;                                                          \
    static constexpr T min() { return LOWEST; }                                                    \
    static constexpr T max() { return HIGHEST; }                                                   \
    static constexpr T lowest() { return LOWEST; }                                                 \
  };
METAL_SIM_INTEGER_LIMITS(bool, false, true, 1)
METAL_SIM_INTEGER_LIMITS(char, CHAR_MIN, CHAR_MAX, 7)
METAL_SIM_INTEGER_LIMITS(signed char, CHAR_MIN, CHAR_MAX, 7)
METAL_SIM_INTEGER_LIMITS(uchar, 0, UCHAR_MAX, 8)
METAL_SIM_INTEGER_LIMITS(short, SHRT_MIN, SHRT_MAX, 15)
METAL_SIM_INTEGER_LIMITS(ushort, 0, USHRT_MAX, 16)
METAL_SIM_INTEGER_LIMITS(int, INT_MIN, INT_MAX, 31)
METAL_SIM_INTEGER_LIMITS(uint, 0, UINT_MAX, 32)
METAL_SIM_INTEGER_LIMITS(long, LONG_MIN, LONG_MAX, 63)
METAL_SIM_INTEGER_LIMITS(ulong, 0, ULONG_MAX, 64)
#define METAL_SIM_FLOAT_LIMITS(T, SMALLEST, HIGHEST, EPSILON, DIGITS)                              \
  template <> struct numeric_limits<T> {                                                           \
    static constexpr bool is_specialized = true, is_integer = false, has_infinity = true;          \
    static constexpr bool is_signed = true;                                                        \
    static constexpr int digits = DIGITS;                                                          \
    static constexpr T min() { return T(SMALLEST); }                                               \
    static constexpr T max() { return T(HIGHEST); }                                                \
    static constexpr T lowest() { return T(-(HIGHEST)); }                                          \
    static constexpr T epsilon() { return T(EPSILON); }                                            \
    static constexpr T infinity() { return T(__builtin_inff()); }                                  \
    static constexpr T quiet_NaN() { return T(__builtin_nanf("")); }                               \
  };
METAL_SIM_FLOAT_LIMITS(float, FLT_MIN, FLT_MAX, FLT_EPSILON, 24)
METAL_SIM_FLOAT_LIMITS(half, 6.103515625e-05f, 65504.0f, 0.0009765625f, 11)
METAL_SIM_FLOAT_LIMITS(bfloat, FLT_MIN, 3.38953139e38f, 0.0078125f, 8)
}  // namespace metal

#ifdef METAL_SIM_ADDRESS_SPACES
// A vec with constructors for other spaces is not trivially copyable; here only the type counts.
template <class T, class U> T as_type(U value);
#else
template <class T, class U> constexpr METAL_SIM_INLINE T as_type(U value) {
  static_assert(sizeof(T) == sizeof(U), "as_type needs two types of one size");
  if constexpr (__is_trivially_copyable(T) && __is_trivially_copyable(U)) {
    return __builtin_bit_cast(T, value);
  } else {  // a vec whose copies are checked
    T result;
    __builtin_memcpy(&result, &value, sizeof(T));
    return result;
  }
}
#endif
