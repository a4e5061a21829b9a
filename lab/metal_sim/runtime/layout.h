// What the judge's side (layout.py) and the runtime share: one mapping with these structures in it.
// Places in it are offsets from its start. layout.py mirrors every field; the child compares sizes.
#pragma once
#include <stdint.h>

namespace metal_sim {

enum Kind : uint32_t {  // findings.py says what each means
  out_of_bounds_read = 1,
  out_of_bounds_write,
  wild_access,
  write_to_input,
  race_read,
  race_write,
  race_same_value,
  race_atomic,
  uninitialised_threadgroup,
  uninitialised_output,
  divergent_barrier,
  missing_at_barrier,
  divergent_simd,
  inactive_lane,
  partial_matrix,
  array_index,
  division_by_zero,
  wild_shift,
  stack_overflow,
  memory_fault,
  time_out,
  misaligned,
};

enum Order : uint32_t { in_order, reverse, shuffled };
enum Outcome : uint32_t { unfinished, finished, stopped };

struct Region {  // one buffer
  uint64_t start, bytes;  // where its storage lies, exactly
  uint64_t handed;        // what the kernel is given: a strided view may begin inside
  uint32_t output, initialised;
  uint32_t grain;  // bytes that share one entry of race checking
  uint32_t unused;
  uint64_t bytes_read, bytes_written, never_written;
};

struct GroupVariable {  // one threadgroup variable; `start` counts from the section's start
  uint64_t start, bytes;
};

struct Finding {
  uint32_t kind, times;
  uint64_t place, other_place;  // return addresses in the kernel's image
  int64_t offset;               // bytes from the region's start
  int32_t region;               // -1 none, -2 threadgroup memory
  uint32_t bytes;
  uint32_t thread[3], group[3], lane, simdgroup;
  uint32_t other_thread[3], other_known, same_group;
  int64_t value;  // an index, a shift, a count: by kind
  uint32_t line, part;  // where the compiler itself said it: body 'b', header 'h', signature 's'
};

struct Job {
  uint64_t regions_at, group_variables_at, findings_at;
  uint32_t regions, group_variables, findings_room, findings;
  uint32_t grid[3], threads[3];
  uint32_t checking, order, seed, preempt_every;  // preempt_every 0: never
  uint32_t poison, unused;  // the byte that stands where nothing was written
  uint64_t stack_bytes;
  uint64_t group_section, group_bytes;  // in the kernel's image
  uint64_t entry, image_bytes;
  uint64_t time_limit_us;
  uint32_t outcome, confined;
  uint64_t threads_run, switches, collectives, barriers, accesses, atomics;
};

}  // namespace metal_sim
