// The schedule: group after group; within a group, simdgroup by simdgroup, each until all its lanes
// have ended or wait at a threadgroup barrier. Orders: as numbered, reversed, or at random; with
// preemption a thread also stops at random memory accesses.
//
// Collectives (simd_ and quad_ functions) let go when every live lane of the simdgroup waits. Lanes
// that wait in different places go by program counter, lowest first: code that comes earlier in the
// program is finished before lanes meet again behind it. A GPU may do otherwise, hence the finding.
#include <string.h>

#include "state.h"

namespace metal_sim {

static void permute(uint32_t* order, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    order[i] = state.job->order == reverse ? count - 1 - i : i;
  if (state.job->order != shuffled) return;
  for (uint32_t i = count; i > 1; i--) {
    uint32_t other = random_below(i), kept = order[i - 1];
    order[i - 1] = order[other];
    order[other] = kept;
  }
}

static bool in_collective(const Thread& thread) {
  return thread.waiting == at_collective || thread.waiting == at_simdgroup_barrier;
}

static void note_divergence(uint64_t place, uint32_t together, uint32_t live) {
  if (Finding* finding = found(divergent_simd, place)) {
    finding->value = together;
    finding->bytes = live;
  }
}

// Lets the lanes at the lowest waiting place go on; false where none waits in a collective.
static bool release_collective(uint32_t index) {
  uint32_t first = index * LANES;
  uint32_t end = first + LANES < state.thread_count ? first + LANES : state.thread_count;
  uint64_t place = ~0ull;
  uint32_t live = 0;
  for (uint32_t i = first; i < end; i++) {
    const Thread& thread = state.threads[i];
    live += thread.waiting != done;
    if (in_collective(thread) && thread.place < place) place = thread.place;
  }
  if (place == ~0ull) return false;
  Thread* leader = nullptr;
  Simdgroup& group = state.simdgroups[index];
  Exchange& exchange = group.exchange[group.exchanges_done & 1];
  exchange.active = 0;
  for (uint32_t i = first; i < end; i++) {
    Thread& thread = state.threads[i];
    if (!in_collective(thread) || thread.place != place) continue;
    if (!leader) leader = &thread;
    exchange.active |= 1u << (i - first);
    memcpy(exchange.slots[i - first], thread.value, thread.bytes);
    thread.waiting = ready;
  }
  state.current = leader;
  uint32_t together = __builtin_popcount(exchange.active);
  if (together < live) note_divergence(place, together, live);
  if (leader->combine) leader->combine(&exchange);
  state.now++;
  if (leader->flags & MEM_THREADGROUP) group.fence[0] = state.now;
  if (leader->flags & MEM_DEVICE) group.fence[1] = state.now;
  group.exchanges_done++;
  return true;
}

// Runs the ready lanes of one simdgroup once; how many ended is added to `ended`.
static bool run_lanes(uint32_t index, uint32_t* ended) {
  uint32_t first = index * LANES, order[LANES];
  uint32_t count = state.thread_count - first < LANES ? state.thread_count - first : LANES;
  permute(order, count);
  bool ran = false;
  for (uint32_t i = 0; i < count; i++) {
    Thread* thread = &state.threads[first + order[i]];
    if (thread->waiting != ready) continue;
    ran = true;
    resume(thread);
    if (thread->waiting == done) {
      retire(thread);
      ++*ended;
    }
  }
  return ran;
}

static bool any_ready(uint32_t index) {
  uint32_t first = index * LANES;
  for (uint32_t i = first; i < first + LANES && i < state.thread_count; i++)
    if (state.threads[i].waiting == ready) return true;
  return false;
}

// One simdgroup until its live lanes wait at a threadgroup barrier, or until it is preempted.
static bool run_simdgroup(uint32_t index, uint32_t* ended) {
  for (;;) {
    run_lanes(index, ended);
    if (any_ready(index)) {
      if (random_below(2)) return true;
      continue;
    }
    if (!release_collective(index)) return false;
  }
}

static void release_barrier(uint32_t live) {
  Thread* first = nullptr;
  for (uint32_t i = 0; i < state.thread_count; i++) {
    Thread& thread = state.threads[i];
    if (thread.waiting != at_group_barrier) continue;
    thread.waiting = ready;
    if (!first) first = &thread;
    state.current = &thread;
    if (thread.place == first->place) continue;
    if (Finding* finding = found(divergent_barrier, thread.place)) {
      finding->other_place = first->place - (uint64_t)state.image_low;
      finding->other_known = 1;
      for (int k = 0; k < 3; k++) finding->other_thread[k] = first->at.thread_in_grid[k];
    }
  }
  state.current = first;
  if (live < state.thread_count)
    if (Finding* finding = found(missing_at_barrier, first->place)) {
      finding->value = state.thread_count - live;
      finding->bytes = state.thread_count;
    }
  state.now++;
  if (first->flags & MEM_THREADGROUP) state.fence[0] = state.now;
  if (first->flags & MEM_DEVICE) state.fence[1] = state.now;
}

static void place_threads(const uint32_t group[3], const uint32_t groups[3]) {
  const Job* job = state.job;
  uint32_t size[3];
  for (int k = 0; k < 3; k++) {
    uint32_t left = job->grid[k] - group[k] * job->threads[k];
    size[k] = left < job->threads[k] ? left : job->threads[k];
  }
  state.thread_count = size[0] * size[1] * size[2];
  state.simdgroup_count = (state.thread_count + LANES - 1) / LANES;
  for (uint32_t i = 0; i < state.thread_count; i++) {
    Thread& thread = state.threads[i];
    thread.waiting = ready;
    thread.stack_pointer = nullptr;
    Position& at = thread.at;
    const uint32_t within[3] = {i % size[0], i / size[0] % size[1], i / (size[0] * size[1])};
    for (int k = 0; k < 3; k++) {
      at.thread_in_group[k] = within[k];
      at.group_in_grid[k] = group[k];
      at.thread_in_grid[k] = group[k] * job->threads[k] + within[k];
      at.groups_per_grid[k] = groups[k];
      at.threads_per_grid[k] = job->grid[k];
      at.threads_per_group[k] = size[k];
      at.dispatched_per_group[k] = job->threads[k];
    }
    at.thread_index = i;
    at.simdgroup = i / LANES;
    at.lane = i % LANES;
    at.simdgroups = state.simdgroup_count;
    at.dispatched_simdgroups = (state.most_threads + LANES - 1) / LANES;
    at.quadgroup = i / 4;
    at.quad_lane = i % 4;
    at.quadgroups = (state.thread_count + 3) / 4;
    at.dispatched_quadgroups = (state.most_threads + 3) / 4;
  }
}

static void run_group() {
  uint32_t live = state.thread_count, order[LANES];  // at most 1024 threads: 32 simdgroups
  while (live) {
    permute(order, state.simdgroup_count);
    bool preempted = true;
    while (preempted) {
      preempted = false;
      for (uint32_t i = 0; i < state.simdgroup_count; i++) {
        uint32_t ended = 0;
        preempted |= run_simdgroup(order[i], &ended);
        live -= ended;
      }
    }
    if (live) release_barrier(live);
  }
}

static uint64_t shared_divisor(uint64_t a, uint64_t b) {
  while (b) {
    uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

void run_grid() {
  const Job* job = state.job;
  uint32_t groups[3];
  for (int k = 0; k < 3; k++) groups[k] = (job->grid[k] + job->threads[k] - 1) / job->threads[k];
  uint64_t total = (uint64_t)groups[0] * groups[1] * groups[2];
  uint64_t stride = 2654435761ull % total;  // visits every group once if it shares no divisor
  while (stride < 1 || shared_divisor(stride, total) != 1) stride++;
  for (uint64_t turn = 0; turn < total; turn++) {
    uint64_t index = turn;
    if (job->order == reverse) index = total - 1 - turn;
    if (job->order == shuffled) index = (turn * stride + job->seed) % total;
    const uint32_t group[3] = {(uint32_t)(index % groups[0]),
                               (uint32_t)(index / groups[0] % groups[1]),
                               (uint32_t)(index / ((uint64_t)groups[0] * groups[1]))};
    state.now++;
    state.group_start = state.now;
    state.fence[0] = state.fence[1] = 0;
    state.group_first_id = index * state.most_threads + 1;
    place_threads(group, groups);
    for (uint32_t i = 0; i < state.simdgroup_count; i++)
      state.simdgroups[i].fence[0] = state.simdgroups[i].fence[1] = 0;
    forget_group_memory();
    state.job->threads_run += state.thread_count;
    run_group();
  }
  state.current = nullptr;
}

}  // namespace metal_sim
