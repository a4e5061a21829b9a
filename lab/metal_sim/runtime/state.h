// The runtime's one state: a launch runs in a process of its own, on one CPU thread.
#pragma once
#include "layout.h"

namespace metal_sim {

constexpr uint32_t LANES = 32;
constexpr uint32_t SLOT_BYTES = 64;
constexpr uint64_t PAGE = 4096;
constexpr uint32_t MEM_DEVICE = 1, MEM_THREADGROUP = 2;  // mem_flags of the language

struct Position {  // as metal_sim_position in include/metal_sim/runtime_calls.h
  uint32_t thread_in_grid[3], thread_in_group[3], group_in_grid[3];
  uint32_t groups_per_grid[3], threads_per_grid[3], threads_per_group[3], dispatched_per_group[3];
  uint32_t thread_index, simdgroup, lane, simdgroups, dispatched_simdgroups;
  uint32_t quadgroup, quad_lane, quadgroups, dispatched_quadgroups;
};

struct Exchange {  // as metal_sim_exchange
  uint32_t active;
  alignas(16) unsigned char slots[LANES][SLOT_BYTES];
  unsigned char common[SLOT_BYTES];
};
typedef void (*Combine)(Exchange*);

enum Waiting : uint32_t { ready, at_group_barrier, at_collective, at_simdgroup_barrier, done };

struct Thread {
  void* stack_pointer;
  unsigned char* stack;
  Waiting waiting;
  uint32_t flags, bytes;
  uint64_t place;  // the return address of the call it waits in
  Combine combine;
  alignas(16) unsigned char value[SLOT_BYTES];
  Position at;
};

struct Simdgroup {
  uint32_t exchanges_done;
  uint32_t fence[2];   // when a simdgroup_barrier last ordered threadgroup, device memory
  Exchange exchange[2];  // the lanes may still read one while the next is gathered
};

struct State {
  Job* job;
  unsigned char* mapping;
  Region* regions;
  GroupVariable* group_variables;
  unsigned char *group_low, *group_high, *image_low, *image_high;
  Thread* threads;
  Thread* current;  // null outside of the kernel
  Simdgroup* simdgroups;
  uint32_t thread_count, simdgroup_count, most_threads;
  uint64_t group_first_id;  // the id of the group's first thread; ids start at 1
  uint32_t now, group_start, fence[2];  // time moves at each synchronisation
  uint32_t random;
  uint64_t last_place;  // of the last checked access
};
extern State state;

inline uint32_t random_below(uint32_t limit) {  // xorshift32
  state.random ^= state.random << 13;
  state.random ^= state.random >> 17;
  state.random ^= state.random << 5;
  return state.random % limit;
}

// report.cpp
Finding* found(Kind kind, uint64_t place);  // the entry to fill in, or null where it is known
[[noreturn]] void leave(Outcome outcome);
void position_of_id(uint64_t id, uint32_t position[3]);

// fibers.cpp
void make_fibers();
void resume(Thread* thread);
void yield_thread();
void retire(Thread* thread);

// checks.cpp
void prepare_checks();
void finish_write();
void count_unwritten();
void forget_group_memory();

// schedule.cpp
void run_grid();

}  // namespace metal_sim
