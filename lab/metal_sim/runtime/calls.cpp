// What the compiled kernel calls (declared for it in include/metal_sim/runtime_calls.h).
#include <string.h>

#include "checks.h"

using namespace metal_sim;

#define PLACE ((uint64_t)__builtin_return_address(0))

static void wait(Waiting waiting, uint32_t flags, uint64_t place) {
  Thread* thread = state.current;
  thread->waiting = waiting;
  thread->flags = flags;
  thread->place = place;
  yield_thread();
}

extern "C" {
const Position* metal_sim_here() { return &state.current->at; }
unsigned metal_sim_lane() { return state.current->at.lane; }

const Exchange* metal_sim_collect(const void* value, unsigned bytes, Combine combine) {
  Thread* thread = state.current;
  memcpy(thread->value, value, bytes);
  thread->bytes = bytes;
  thread->combine = combine;
  state.job->collectives++;
  wait(at_collective, 0, PLACE);
  const Simdgroup& group = state.simdgroups[thread->at.simdgroup];
  return &group.exchange[(group.exchanges_done - 1) & 1];
}

void metal_sim_group_barrier(unsigned flags, unsigned) {
  state.job->barriers++;
  wait(at_group_barrier, flags, PLACE);
}

void metal_sim_simdgroup_barrier(unsigned flags) {
  state.current->bytes = 0;
  state.current->combine = nullptr;
  wait(at_simdgroup_barrier, flags, PLACE);
}

void metal_sim_atomic(const volatile void* address, unsigned bytes, unsigned access) {
  state.job->atomics++;
  if (state.job->checking) check((unsigned char*)address, bytes, (Access)access, true, PLACE);
}

// Both speak of the collective that this lane was last let go from.
void metal_sim_inactive_lane() { found(inactive_lane, state.current->place); }
void metal_sim_partial_matrix() { found(partial_matrix, state.current->place); }

// clang asks for these where the CPU has no instruction for a narrow float.
unsigned short metal_sim_bfloat_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)(bits >> 16 | 0x40);
  return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
__bf16 __truncsfbf2(float value) {
  unsigned short bits = metal_sim_bfloat_bits(value);
  __bf16 narrow;
  memcpy(&narrow, &bits, 2);
  return narrow;
}
}
