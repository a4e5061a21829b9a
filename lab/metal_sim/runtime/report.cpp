// Findings: the first of each kind at each place is described, the rest are counted.
#include <sys/syscall.h>
#include <unistd.h>

#include "state.h"

namespace metal_sim {

State state;

Finding* found(Kind kind, uint64_t place) {
  Job* job = state.job;
  Finding* all = (Finding*)(state.mapping + job->findings_at);
  uint64_t low = (uint64_t)state.image_low;
  uint64_t within = place >= low && place < (uint64_t)state.image_high ? place - low : 0;
  for (uint32_t i = 0; i < job->findings; i++)
    if (all[i].kind == kind && all[i].place == within) {
      all[i].times++;
      return nullptr;
    }
  if (job->findings == job->findings_room) return nullptr;
  Finding* finding = &all[job->findings++];
  *finding = Finding{};
  finding->kind = kind;
  finding->times = 1;
  finding->place = within;
  finding->region = -1;
  if (state.current) {
    const Position& at = state.current->at;
    for (int k = 0; k < 3; k++) {
      finding->thread[k] = at.thread_in_grid[k];
      finding->group[k] = at.group_in_grid[k];
    }
    finding->lane = at.lane;
    finding->simdgroup = at.simdgroup;
  }
  return finding;
}

void leave(Outcome outcome) {
  __atomic_store_n(&state.job->outcome, outcome, __ATOMIC_RELEASE);
  for (;;) syscall(SYS_exit, 0);
}

void position_of_id(uint64_t id, uint32_t position[3]) {
  const Job* job = state.job;
  uint64_t group = (id - 1) / state.most_threads, index = (id - 1) % state.most_threads;
  for (int k = 0; k < 3; k++) {
    uint32_t groups = (job->grid[k] + job->threads[k] - 1) / job->threads[k];
    uint32_t first = (uint32_t)(group % groups) * job->threads[k];
    uint32_t size = job->grid[k] - first < job->threads[k] ? job->grid[k] - first : job->threads[k];
    position[k] = first + (uint32_t)(index % size);
    group /= groups;
    index /= size;
  }
}

}  // namespace metal_sim
