// What a compiled kernel asks of the runtime (lab/metal_sim/runtime).
//
// The runtime takes the caller's return address as the place in the kernel, so each of these is
// called from functions that are always inlined.
#pragma once
#include "metal_sim/math.h"

#ifdef METAL_SIM_ADDRESS_SPACES
#define METAL_SIM_FOR_MEMORY(F) F(METAL_SIM_DEVICE) F(METAL_SIM_GROUP)
#define METAL_SIM_FOR_READING(F) METAL_SIM_FOR_MEMORY(F) F(METAL_SIM_CONSTANT)
#else
#define METAL_SIM_FOR_MEMORY(F) F()
#define METAL_SIM_FOR_READING(F) F()
#endif

#define METAL_SIM_LANES 32
#define METAL_SIM_SLOT_BYTES 64

extern "C" {
struct metal_sim_position {
  unsigned thread_in_grid[3], thread_in_group[3], group_in_grid[3];
  unsigned groups_per_grid[3], threads_per_grid[3], threads_per_group[3], dispatched_per_group[3];
  unsigned thread_index, simdgroup, lane, simdgroups, dispatched_simdgroups;
  unsigned quadgroup, quad_lane, quadgroups, dispatched_quadgroups;
};
struct metal_sim_exchange {
  unsigned active;
  alignas(16) unsigned char slots[METAL_SIM_LANES][METAL_SIM_SLOT_BYTES];
  unsigned char common[METAL_SIM_SLOT_BYTES];
};
typedef void (*metal_sim_combine)(metal_sim_exchange*);

const metal_sim_position* metal_sim_here();
unsigned metal_sim_lane();
__attribute__((convergent, nomerge)) const metal_sim_exchange* metal_sim_collect(
    const void* value __attribute__((noescape)), unsigned bytes, metal_sim_combine combine);
__attribute__((convergent, nomerge)) void metal_sim_group_barrier(unsigned flags, unsigned site);
__attribute__((convergent, nomerge)) void metal_sim_simdgroup_barrier(unsigned flags);
void metal_sim_atomic(const volatile void* address, unsigned bytes, unsigned access);
void metal_sim_inactive_lane();
void metal_sim_partial_matrix();
}

namespace metal {
struct mem_flags {  // a class, so that its operators are friends inside of it (see matrices.h)
  unsigned bits;
  static const mem_flags mem_none, mem_device, mem_threadgroup, mem_texture;
  static const mem_flags mem_threadgroup_imageblock;
  friend constexpr mem_flags operator|(mem_flags a, mem_flags b) { return {a.bits | b.bits}; }
  friend constexpr mem_flags operator&(mem_flags a, mem_flags b) { return {a.bits & b.bits}; }
};
inline constexpr mem_flags mem_flags::mem_none{0}, mem_flags::mem_device{1};
inline constexpr mem_flags mem_flags::mem_threadgroup{2}, mem_flags::mem_texture{4};
inline constexpr mem_flags mem_flags::mem_threadgroup_imageblock{8};
enum memory_order {
  memory_order_relaxed,
  memory_order_acquire,
  memory_order_release,
  memory_order_acq_rel,
  memory_order_seq_cst,
};
enum thread_scope {
  thread_scope_thread,
  thread_scope_simdgroup,
  thread_scope_threadgroup,
  thread_scope_device,
};
// Two barriers stay two: `site` keeps those of an if's halves from being hoisted as one, nomerge from
// being sunk as one.
#define METAL_SIM_SITE (__builtin_LINE() << 10 | __builtin_COLUMN())
METAL_SIM_INLINE void threadgroup_barrier(mem_flags flags, unsigned site = METAL_SIM_SITE) {
  metal_sim_group_barrier(flags.bits, site);
}
METAL_SIM_INLINE void threadgroup_barrier(mem_flags flags, thread_scope,
                                          unsigned site = METAL_SIM_SITE) {
  metal_sim_group_barrier(flags.bits, site);
}
METAL_SIM_INLINE void simdgroup_barrier(mem_flags flags) {
  metal_sim_simdgroup_barrier(flags.bits);
}
METAL_SIM_INLINE void simdgroup_barrier(mem_flags flags, thread_scope) {
  metal_sim_simdgroup_barrier(flags.bits);
}
}  // namespace metal
