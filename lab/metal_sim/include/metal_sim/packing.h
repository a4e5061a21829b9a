// Packing to and from normalised integers (metal_pack). A result is rounded to even and clamped.
#pragma once
#include "metal_sim/math.h"

namespace metal {
METAL_SIM_INLINE uint packed_part(float x, float lowest, float most) {
  return (uint)(int)__builtin_rintf(__builtin_fminf(__builtin_fmaxf(x, lowest), 1.0f) * most);
}
// UNIT is unorm (0 to 1) or snorm (-1 to 1); BITS of each of N lanes, the first in the lowest.
#define METAL_SIM_PACKED(UNIT, SUFFIX, PART, LOWEST, MOST, BITS, N, T)                             \
  METAL_SIM_INLINE uint pack_##T##_to_##UNIT##SUFFIX(vec<T, N> v) {                                \
    uint packed = 0;                                                                               \
    METAL_SIM_EACH(i, N)                                                                           \
    packed |= (packed_part((float)v.d[i], LOWEST, MOST) & ((1u << BITS) - 1)) << (i * BITS);       \
    return packed;                                                                                 \
  }                                                                                                \
  METAL_SIM_INLINE vec<T, N> unpack_##UNIT##SUFFIX##_to_##T(uint packed) {                         \
    vec<T, N> v(T(0));                                                                             \
    METAL_SIM_EACH(i, N)                                                                           \
    v.d[i] = T(__builtin_fmaxf((float)(PART)(packed >> (i * BITS)) / MOST, LOWEST));               \
    return v;                                                                                      \
  }
#define METAL_SIM_PACKINGS(T)                                                                      \
  METAL_SIM_PACKED(unorm, 4x8, uchar, 0.0f, 255.0f, 8, 4, T)                                       \
  METAL_SIM_PACKED(snorm, 4x8, char, -1.0f, 127.0f, 8, 4, T)                                       \
  METAL_SIM_PACKED(unorm, 2x16, ushort, 0.0f, 65535.0f, 16, 2, T)                                  \
  METAL_SIM_PACKED(snorm, 2x16, short, -1.0f, 32767.0f, 16, 2, T)
METAL_SIM_PACKINGS(float)
METAL_SIM_PACKINGS(half)
}  // namespace metal
