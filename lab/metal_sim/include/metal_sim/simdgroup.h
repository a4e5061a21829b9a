// simd_ and quad_ functions: every live lane hands in a value, the runtime lets them go together.
#pragma once
#include "metal_sim/runtime_calls.h"

namespace metal {
template <class T> METAL_SIM_UNCHECKED inline T taken(const unsigned char* slot) {
  T value;
  __builtin_memcpy(&value, slot, sizeof(T));
  return value;
}
template <class T>
METAL_SIM_INLINE const metal_sim_exchange* collected(T x, metal_sim_combine combine = nullptr) {
  static_assert(sizeof(T) <= METAL_SIM_SLOT_BYTES);
  return metal_sim_collect(&x, sizeof(T), combine);
}

#define METAL_SIM_OPERATION(NAME, VALUE)                                                           \
  struct NAME {                                                                                    \
    template <class T> METAL_SIM_UNCHECKED static T of(T a, T b) { return T(VALUE); }              \
  };
METAL_SIM_OPERATION(sum_of_two, a + b)
METAL_SIM_OPERATION(product_of_two, a * b)
METAL_SIM_OPERATION(larger_of_two, max(a, b))
METAL_SIM_OPERATION(smaller_of_two, min(a, b))
METAL_SIM_OPERATION(and_of_two, a & b)
METAL_SIM_OPERATION(or_of_two, a | b)
METAL_SIM_OPERATION(xor_of_two, a ^ b)

// A tree of halves over the active lanes [first, first + lanes): 16, 8, 4, 2, 1.
template <class T, class F>
METAL_SIM_UNCHECKED T reduced(const metal_sim_exchange* from, int first, int lanes) {
  T values[METAL_SIM_LANES];
  bool have[METAL_SIM_LANES];
  for (int i = 0; i < lanes; i++) {
    have[i] = (from->active >> (first + i)) & 1;
    values[i] = taken<T>(from->slots[first + i]);
  }
  for (int half = lanes / 2; half; half /= 2)
    for (int i = 0; i < half; i++) {
      if (!have[i + half]) continue;
      values[i] = have[i] ? F::template of<T>(values[i], values[i + half]) : values[i + half];
      have[i] = true;
    }
  return values[0];
}
template <class T, class F> METAL_SIM_UNCHECKED void reduce(metal_sim_exchange* exchange) {
  T total = reduced<T, F>(exchange, 0, METAL_SIM_LANES);
  __builtin_memcpy(exchange->common, &total, sizeof(T));
}
template <class T, class F>
METAL_SIM_UNCHECKED inline T quad_reduced(const metal_sim_exchange* from) {
  return reduced<T, F>(from, metal_sim_lane() & ~3u, 4);
}
template <class T, class F>
METAL_SIM_UNCHECKED inline T scanned(const metal_sim_exchange* from, T total, int end, int first) {
  for (int i = first; i < end; i++)
    if ((from->active >> i) & 1) total = F::template of<T>(total, taken<T>(from->slots[i]));
  return total;
}

#define METAL_SIM_REDUCTION(NAME, OPERATION)                                                       \
  template <class T> METAL_SIM_INLINE T simd_##NAME(T x) {                                         \
    return taken<T>(collected(x, reduce<T, OPERATION>)->common);                                   \
  }                                                                                                \
  template <class T> METAL_SIM_INLINE T quad_##NAME(T x) {                                         \
    return quad_reduced<T, OPERATION>(collected(x));                                               \
  }
METAL_SIM_REDUCTION(sum, sum_of_two)
METAL_SIM_REDUCTION(product, product_of_two)
METAL_SIM_REDUCTION(max, larger_of_two)
METAL_SIM_REDUCTION(min, smaller_of_two)
METAL_SIM_REDUCTION(and, and_of_two)
METAL_SIM_REDUCTION(or, or_of_two)
METAL_SIM_REDUCTION(xor, xor_of_two)

#define METAL_SIM_SCAN(NAME, OPERATION, START)                                                     \
  template <class T> METAL_SIM_INLINE T simd_prefix_exclusive_##NAME(T x) {                        \
    return scanned<T, OPERATION>(collected(x), T(START), metal_sim_lane(), 0);                     \
  }                                                                                                \
  template <class T> METAL_SIM_INLINE T simd_prefix_inclusive_##NAME(T x) {                        \
    return scanned<T, OPERATION>(collected(x), T(START), metal_sim_lane() + 1, 0);                 \
  }                                                                                                \
  template <class T> METAL_SIM_INLINE T quad_prefix_exclusive_##NAME(T x) {                        \
    return scanned<T, OPERATION>(collected(x), T(START), metal_sim_lane(),                         \
                                 metal_sim_lane() & ~3u);                                          \
  }                                                                                                \
  template <class T> METAL_SIM_INLINE T quad_prefix_inclusive_##NAME(T x) {                        \
    return scanned<T, OPERATION>(collected(x), T(START), metal_sim_lane() + 1,                     \
                                 metal_sim_lane() & ~3u);                                          \
  }
METAL_SIM_SCAN(sum, sum_of_two, 0)
METAL_SIM_SCAN(product, product_of_two, 1)

// The value of lane `source`; of a lane that takes no part, all bits set and a warning.
template <class T>
METAL_SIM_UNCHECKED inline T lane_value(const metal_sim_exchange* from, int source) {
  if (source >= 0 && source < METAL_SIM_LANES && ((from->active >> source) & 1))
    return taken<T>(from->slots[source]);
  metal_sim_inactive_lane();
  T undefined;
  __builtin_memset(&undefined, 0xff, sizeof(T));
  return undefined;
}
METAL_SIM_INLINE int quad_first() { return metal_sim_lane() & ~3u; }

template <class T> METAL_SIM_INLINE T simd_shuffle(T x, ushort lane) {
  return lane_value<T>(collected(x), lane);
}
template <class T> METAL_SIM_INLINE T simd_broadcast(T x, ushort lane) {
  return lane_value<T>(collected(x), lane);
}
template <class T> METAL_SIM_INLINE T simd_shuffle_xor(T x, ushort mask) {
  return lane_value<T>(collected(x), metal_sim_lane() ^ mask);
}
template <class T> METAL_SIM_INLINE T simd_shuffle_rotate_down(T x, ushort delta) {
  return lane_value<T>(collected(x), (metal_sim_lane() + delta) & 31);
}
template <class T> METAL_SIM_INLINE T simd_shuffle_rotate_up(T x, ushort delta) {
  return lane_value<T>(collected(x), (metal_sim_lane() - delta) & 31);
}
// Lanes whose source would lie outside keep their own value.
template <class T> METAL_SIM_INLINE T simd_shuffle_down(T x, ushort delta) {
  int source = (int)metal_sim_lane() + delta;
  return lane_value<T>(collected(x), source < METAL_SIM_LANES ? source : (int)metal_sim_lane());
}
template <class T> METAL_SIM_INLINE T simd_shuffle_up(T x, ushort delta) {
  int source = (int)metal_sim_lane() - delta;
  return lane_value<T>(collected(x), source >= 0 ? source : (int)metal_sim_lane());
}
template <class T> struct with_filling {
  T value, filling;
};
template <class T>
METAL_SIM_UNCHECKED inline T filled(const metal_sim_exchange* from, int source, int modulo) {
  int first = (int)metal_sim_lane() / modulo * modulo;
  bool inside = source >= first && source < first + modulo;
  int lane = first + (((source - first) % modulo) + modulo) % modulo;
  with_filling<T> both = lane_value<with_filling<T>>(from, lane);
  return inside ? both.value : both.filling;
}
template <class T>
METAL_SIM_INLINE T simd_shuffle_and_fill_down(T x, T filling, ushort delta, ushort modulo = 32) {
  with_filling<T> both{x, filling};
  return filled<T>(collected(both), (int)metal_sim_lane() + delta, modulo);
}
template <class T>
METAL_SIM_INLINE T simd_shuffle_and_fill_up(T x, T filling, ushort delta, ushort modulo = 32) {
  with_filling<T> both{x, filling};
  return filled<T>(collected(both), (int)metal_sim_lane() - delta, modulo);
}
METAL_SIM_UNCHECKED inline uint active_lanes(const metal_sim_exchange* from) {
  return from->active;
}
template <class T> METAL_SIM_UNCHECKED inline T first_value(const metal_sim_exchange* from) {
  return taken<T>(from->slots[__builtin_ctz(from->active)]);
}
template <class T> METAL_SIM_INLINE T simd_broadcast_first(T x) {
  return first_value<T>(collected(x));
}

struct simd_vote {
  typedef ulong vote_t;
  ulong votes;
  constexpr simd_vote(ulong given = 0) : votes(given) {}
  explicit constexpr operator vote_t() const { return votes; }
  bool all() const { return (uint)votes == 0xffffffffu; }
  bool any() const { return votes != 0; }
};
METAL_SIM_UNCHECKED inline ulong votes_of(const metal_sim_exchange* from) {
  ulong votes = 0;
  for (int i = 0; i < METAL_SIM_LANES; i++)
    if (((from->active >> i) & 1) && from->slots[i][0]) votes |= 1ul << i;
  return votes;
}
METAL_SIM_UNCHECKED inline bool all_voted(const metal_sim_exchange* from) {
  return (uint)votes_of(from) == from->active;
}
METAL_SIM_INLINE simd_vote simd_ballot(bool x) { return simd_vote(votes_of(collected(x))); }
METAL_SIM_INLINE bool simd_any(bool x) { return votes_of(collected(x)) != 0; }
METAL_SIM_INLINE bool simd_all(bool x) { return all_voted(collected(x)); }
METAL_SIM_INLINE bool simd_is_first() {
  return __builtin_ctz(active_lanes(collected(true))) == (int)metal_sim_lane();
}
METAL_SIM_INLINE simd_vote simd_active_threads_mask() {
  return simd_vote(active_lanes(collected(true)));
}

template <class T> METAL_SIM_INLINE T quad_shuffle(T x, ushort lane) {
  return lane_value<T>(collected(x), quad_first() + (lane & 3));
}
template <class T> METAL_SIM_INLINE T quad_broadcast(T x, ushort lane) {
  return lane_value<T>(collected(x), quad_first() + (lane & 3));
}
template <class T> METAL_SIM_INLINE T quad_shuffle_xor(T x, ushort mask) {
  return lane_value<T>(collected(x), metal_sim_lane() ^ (mask & 3));
}
template <class T> METAL_SIM_INLINE T quad_shuffle_down(T x, ushort delta) {
  int source = (int)metal_sim_lane() + delta;
  return lane_value<T>(collected(x), source < quad_first() + 4 ? source : (int)metal_sim_lane());
}
template <class T> METAL_SIM_INLINE T quad_shuffle_up(T x, ushort delta) {
  int source = (int)metal_sim_lane() - delta;
  return lane_value<T>(collected(x), source >= quad_first() ? source : (int)metal_sim_lane());
}
template <class T> METAL_SIM_INLINE T quad_shuffle_rotate_down(T x, ushort delta) {
  return quad_shuffle(x, (metal_sim_lane() + delta) & 3);
}
template <class T> METAL_SIM_INLINE T quad_shuffle_rotate_up(T x, ushort delta) {
  return quad_shuffle(x, (metal_sim_lane() - delta) & 3);
}
template <class T>
METAL_SIM_INLINE T quad_shuffle_and_fill_down(T x, T filling, ushort delta, ushort modulo = 4) {
  with_filling<T> both{x, filling};
  return filled<T>(collected(both), (int)metal_sim_lane() + delta, modulo);
}
template <class T>
METAL_SIM_INLINE T quad_shuffle_and_fill_up(T x, T filling, ushort delta, ushort modulo = 4) {
  with_filling<T> both{x, filling};
  return filled<T>(collected(both), (int)metal_sim_lane() - delta, modulo);
}
METAL_SIM_UNCHECKED inline uint quad_bits(ulong lanes) { return (lanes >> quad_first()) & 15; }
METAL_SIM_UNCHECKED inline uint quad_active(const metal_sim_exchange* from) {
  return quad_bits(from->active);
}
METAL_SIM_INLINE bool quad_is_first() {
  return quad_first() + __builtin_ctz(quad_active(collected(true))) == (int)metal_sim_lane();
}
template <class T> METAL_SIM_UNCHECKED inline T quad_first_value(const metal_sim_exchange* from) {
  return taken<T>(from->slots[quad_first() + __builtin_ctz(quad_active(from))]);
}
template <class T> METAL_SIM_INLINE T quad_broadcast_first(T x) {
  return quad_first_value<T>(collected(x));
}
struct quad_vote {
  typedef uint vote_t;
  uint votes;
  constexpr quad_vote(uint given = 0) : votes(given) {}
  explicit constexpr operator vote_t() const { return votes; }
  bool all() const { return votes == 15; }
  bool any() const { return votes != 0; }
};
METAL_SIM_INLINE quad_vote quad_ballot(bool x) {
  return quad_vote(quad_bits(votes_of(collected(x))));
}
METAL_SIM_INLINE quad_vote quad_active_threads_mask() {
  return quad_vote(quad_active(collected(true)));
}
METAL_SIM_INLINE bool quad_any(bool x) { return quad_reduced<bool, or_of_two>(collected(x)); }
METAL_SIM_INLINE bool quad_all(bool x) { return quad_reduced<bool, and_of_two>(collected(x)); }
}  // namespace metal
