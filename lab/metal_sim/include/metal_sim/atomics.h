// Atomic operations. Threads are fibers of one CPU thread, so each step is whole by itself; the
// runtime hears of the access so that atomics do not race with one another, but do with plain ones.
#pragma once
#include "metal_sim/simdgroup_matrix.h"

namespace metal {
template <class T> struct atomic {
  static_assert(is_same_v<T, int> || is_same_v<T, uint> || is_same_v<T, bool> ||
                    is_same_v<T, float> || is_same_v<T, ulong> || is_same_v<T, long>,
                "Metal has atomics of int, uint, bool, float and ulong only");
  T held;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;
template <class T> using _atomic = atomic<T>;

template <class T> METAL_SIM_UNCHECKED inline T held_by(const volatile T* address) {
  return *address;
}
template <class T> METAL_SIM_UNCHECKED inline void hold(volatile T* address, T value) {
  *address = value;
}
enum { reading, writing, updating };

#define METAL_SIM_ATOMIC_LOAD(SPACE)                                                               \
  template <class T>                                                                               \
  METAL_SIM_INLINE T atomic_load_explicit(const volatile SPACE atomic<T>* object, memory_order,    \
                                          thread_scope = thread_scope_device) {                    \
    const volatile T* address = (const volatile T*)object;                                         \
    metal_sim_atomic(address, sizeof(T), reading);                                                 \
    return held_by(address);                                                                       \
  }
METAL_SIM_FOR_MEMORY(METAL_SIM_ATOMIC_LOAD)
#define METAL_SIM_ATOMIC_STORE(SPACE)                                                              \
  template <class T>                                                                               \
  METAL_SIM_INLINE void atomic_store_explicit(volatile SPACE atomic<T>* object,                    \
                                              remove_cv_t<T> value, memory_order,                  \
                                              thread_scope = thread_scope_device) {                \
    volatile T* address = (volatile T*)object;                                                     \
    metal_sim_atomic(address, sizeof(T), writing);                                                 \
    hold<T>(address, value);                                                                       \
  }
METAL_SIM_FOR_MEMORY(METAL_SIM_ATOMIC_STORE)
#define METAL_SIM_ATOMIC_UPDATE_IN(SPACE, NAME, VALUE)                                             \
  template <class T>                                                                               \
  METAL_SIM_INLINE T NAME(volatile SPACE atomic<T>* object, remove_cv_t<T> b, memory_order,        \
                          thread_scope = thread_scope_device) {                                    \
    static_assert(!is_same_v<T, ulong>, "Metal has atomic_max and atomic_min of ulong only");      \
    volatile T* address = (volatile T*)object;                                                     \
    metal_sim_atomic(address, sizeof(T), updating);                                                \
    T a = held_by(address);                                                                        \
    hold<T>(address, T(VALUE));                                                                    \
    return a;                                                                                      \
  }
#ifdef METAL_SIM_ADDRESS_SPACES
#define METAL_SIM_ATOMIC_UPDATE(NAME, VALUE)                                                       \
  METAL_SIM_ATOMIC_UPDATE_IN(METAL_SIM_DEVICE, NAME, VALUE)                                        \
  METAL_SIM_ATOMIC_UPDATE_IN(METAL_SIM_GROUP, NAME, VALUE)
#else
#define METAL_SIM_ATOMIC_UPDATE(NAME, VALUE) METAL_SIM_ATOMIC_UPDATE_IN(, NAME, VALUE)
#endif
METAL_SIM_ATOMIC_UPDATE(atomic_exchange_explicit, b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_add_explicit, a + b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_sub_explicit, a - b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_and_explicit, a & b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_or_explicit, a | b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_xor_explicit, a ^ b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_max_explicit, a > b ? a : b)
METAL_SIM_ATOMIC_UPDATE(atomic_fetch_min_explicit, a < b ? a : b)
// Of ulong in device memory, which have no result.
#ifdef METAL_SIM_ADDRESS_SPACES
#define METAL_SIM_ULONG volatile METAL_SIM_DEVICE atomic_ulong
#else
#define METAL_SIM_ULONG volatile atomic_ulong
#endif
#define METAL_SIM_ATOMIC_OF_ULONG(NAME, VALUE)                                                     \
  METAL_SIM_INLINE void NAME(METAL_SIM_ULONG* object, ulong b, memory_order,                       \
                             thread_scope = thread_scope_device) {                                 \
    volatile ulong* address = (volatile ulong*)object;                                             \
    metal_sim_atomic(address, sizeof(ulong), updating);                                            \
    ulong a = held_by(address);                                                                    \
    hold<ulong>(address, VALUE);                                                                   \
  }
METAL_SIM_ATOMIC_OF_ULONG(atomic_max_explicit, a > b ? a : b)
METAL_SIM_ATOMIC_OF_ULONG(atomic_min_explicit, a < b ? a : b)
#define METAL_SIM_ATOMIC_EXCHANGE(SPACE)                                                           \
  template <class T>                                                                               \
  METAL_SIM_INLINE bool atomic_compare_exchange_weak_explicit(                                     \
      volatile SPACE atomic<T>* object, T* expected, remove_cv_t<T> desired, memory_order,         \
      memory_order, thread_scope = thread_scope_device) {                                          \
    volatile T* address = (volatile T*)object;                                                     \
    metal_sim_atomic(address, sizeof(T), updating);                                                \
    T found = held_by(address), wanted = *expected;                                                \
    bool same = __builtin_memcmp(&found, &wanted, sizeof(T)) == 0;                                 \
    if (same) hold<T>(address, desired);                                                           \
    if (!same) *expected = found;                                                                  \
    return same;                                                                                   \
  }
METAL_SIM_FOR_MEMORY(METAL_SIM_ATOMIC_EXCHANGE)
// Nothing to do where threads are fibers; it does not make the race check forgive anything either.
METAL_SIM_INLINE void atomic_thread_fence(mem_flags, memory_order,
                                          thread_scope = thread_scope_device) {}
}  // namespace metal
