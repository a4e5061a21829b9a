// Bounds, races and reads of memory that nobody wrote.
//
// Each `grain` bytes of an output and each byte of threadgroup memory has an entry: who last wrote
// and who last read it, and when. Time moves at synchronisations. Two accesses of different threads
// are in order if a barrier whose flags name the memory lies between them, within one threadgroup
// (threadgroup_barrier) or one simdgroup (simdgroup_barrier). Nothing orders different threadgroups.
// One writer an entry, and one reader, or several that are known to share a simdgroup or not: some
// races are seen in another schedule only.
#include "checks.h"

#include <string.h>
#include <sys/mman.h>

namespace metal_sim {

constexpr uint32_t ATOMIC = 0x80000000u;
constexpr uint32_t MATES = 0x40000000u;  // several readers, all of the simdgroup of the one named
constexpr uint32_t ID = 0x3fffffffu, SEVERAL = ID;
constexpr int32_t GROUP_REGION = -2;
constexpr uint64_t NEAR = 65536;  // as far as the poison around a buffer reaches (memory.py)

struct Entry {
  uint32_t writer, write_time, reader, read_time;
};

struct Target {  // what one access touches
  unsigned char* address;
  uint32_t bytes;
  int32_t region;
  int64_t offset;
  uint64_t place;
  Entry* entries;
  uint32_t count;
  bool group_memory, atomic, check_written;
};

static Entry* group_entries;
static Entry** region_entries;

// A plain write over another thread's: right after it the old and new bytes tell if it matters.
static struct {
  bool open;
  Target target;
  uint32_t other;
  unsigned char before[16];
} overwrite;

void prepare_checks() {
  if (!state.job->checking) return;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, both = PROT_READ | PROT_WRITE;
  group_entries = (Entry*)mmap(nullptr, (state.job->group_bytes + 1) * sizeof(Entry), both, flags,
                               -1, 0);
  region_entries = (Entry**)mmap(nullptr, (state.job->regions + 1) * sizeof(void*), both, flags, -1,
                                 0);
  for (uint32_t i = 0; i < state.job->regions; i++) {
    const Region& region = state.regions[i];
    if (!region.output) continue;
    uint64_t entries = region.bytes / region.grain + 1;
    region_entries[i] = (Entry*)mmap(nullptr, entries * sizeof(Entry), both, flags, -1, 0);
  }
}

void forget_group_memory() {
  memset(state.group_low, state.job->poison, state.group_high - state.group_low);
}

static uint32_t own_id() {
  return (uint32_t)(state.group_first_id + state.current->at.thread_index);
}
static bool same_group(uint32_t id) {
  return id >= state.group_first_id && id < state.group_first_id + state.thread_count;
}
static bool same_simdgroup(uint32_t id) {
  uint64_t first = state.group_first_id + state.current->at.simdgroup * LANES;
  return id >= first && id < first + LANES;
}

static bool ordered(const Target& target, uint32_t id, uint32_t time) {
  const int memory = target.group_memory ? 0 : 1;
  if (id == SEVERAL) return time >= state.group_start && time < state.fence[memory];
  if (!same_group(id)) return false;
  if (time < state.fence[memory]) return true;
  return same_simdgroup(id) &&
         time < state.simdgroups[state.current->at.simdgroup].fence[memory];
}

static Finding* found_at(Kind kind, const Target& target, uint32_t other) {
  Finding* finding = found(kind, target.place);
  if (!finding) return nullptr;
  finding->region = target.region;
  finding->offset = target.offset;
  finding->bytes = target.bytes;
  if (other && other != SEVERAL) {
    finding->other_known = 1;
    finding->same_group = same_group(other);
    position_of_id(other, finding->other_thread);
  }
  return finding;
}

void finish_write() {
  if (!overwrite.open) return;
  overwrite.open = false;
  const Target& target = overwrite.target;
  uint32_t compared = target.bytes < 16 ? target.bytes : 16;
  bool same = memcmp(target.address, overwrite.before, compared) == 0;
  found_at(same ? race_same_value : race_write, target, overwrite.other);
}

static void begin_overwrite(const Target& target, uint32_t other) {
  if (overwrite.open) return;
  overwrite.open = true;
  overwrite.target = target;
  overwrite.other = other;
  memcpy(overwrite.before, target.address, target.bytes < 16 ? target.bytes : 16);
}

static bool current_entry(const Target& target, uint32_t time) {
  return !target.group_memory || time >= state.group_start;
}

static bool read_unwritten(const Target& target, Entry& entry) {
  if (!target.check_written) return false;
  if (entry.writer && current_entry(target, entry.write_time)) return false;
  found_at(target.group_memory ? uninitialised_threadgroup : uninitialised_output, target, 0);
  entry.writer = own_id();  // reported once
  entry.write_time = state.now;
  return true;
}

static void check_against_writer(const Target& target, const Entry& entry, Access access) {
  uint32_t writer = entry.writer & ID;
  if (!writer || writer == own_id() || !current_entry(target, entry.write_time)) return;
  if ((entry.writer & ATOMIC) && target.atomic) return;
  if (ordered(target, writer, entry.write_time)) return;
  if (target.atomic || (entry.writer & ATOMIC)) {
    found_at(race_atomic, target, writer);
  } else if (access == writing) {
    begin_overwrite(target, writer);
  } else {
    found_at(race_read, target, writer);
  }
}

static bool own_read(const Entry& entry) { return (entry.reader & ~ATOMIC) == own_id(); }

static void check_against_reader(const Target& target, const Entry& entry) {
  uint32_t reader = entry.reader & ID;
  if (!reader || own_read(entry) || !current_entry(target, entry.read_time)) return;
  if ((entry.reader & ATOMIC) && target.atomic) return;
  if (ordered(target, reader, entry.read_time)) return;
  found_at(race_read, target, entry.reader & MATES ? SEVERAL : reader);
}

// An earlier reader that is in order with this one may be forgotten: both are of one simdgroup then,
// or a barrier of all lies between, so whatever comes after this read comes after that one too.
static void note_read(const Target& target, Entry& entry) {
  uint32_t reader = entry.reader & ID, atomic = target.atomic ? ATOMIC : 0;
  bool forgotten = !reader || own_read(entry) || entry.read_time < state.group_start ||
                   ordered(target, reader, entry.read_time);
  bool mates = reader != SEVERAL && same_simdgroup(reader);
  if (forgotten)
    entry.reader = own_id() | atomic;
  else
    entry.reader = (mates ? own_id() | MATES : SEVERAL) | (entry.reader & atomic);
  entry.read_time = state.now;
}

static void touch(const Target& target, Access access) {
  for (uint32_t i = 0; i < target.count; i++) {
    Entry& entry = target.entries[i];
    if (access != writing && read_unwritten(target, entry)) break;
    check_against_writer(target, entry, access);
    if (access != reading) {
      check_against_reader(target, entry);
      entry.writer = own_id() | (target.atomic ? ATOMIC : 0);
      entry.write_time = state.now;
    }
    if (access != writing) note_read(target, entry);
  }
}

static void outside(Kind kind, const Target& target, uint64_t size) {
  if (Finding* finding = found_at(kind, target, 0)) finding->value = (int64_t)size;
}

static void check_group_memory(Target target, Access access) {
  target.region = GROUP_REGION;
  target.group_memory = target.check_written = true;
  target.offset = target.address - state.group_low;
  target.entries = group_entries + target.offset;
  target.count = target.bytes;
  for (uint32_t i = 0; i < state.job->group_variables; i++) {
    const GroupVariable& variable = state.group_variables[i];
    int64_t within = target.offset - (int64_t)variable.start;
    if (within >= 0 && within + target.bytes <= variable.bytes) return touch(target, access);
  }
  outside(access == reading ? out_of_bounds_read : out_of_bounds_write, target, 0);
}

static void check_region(Target target, Access access, uint32_t index) {
  Region& region = state.regions[index];
  target.region = (int32_t)index;
  target.offset = target.address - (state.mapping + region.start);
  if (access != writing) region.bytes_read += target.bytes;
  if (access != reading) region.bytes_written += target.bytes;
  if (!region.output) {
    if (access != reading) found_at(write_to_input, target, 0);
    return;
  }
  uint64_t first = target.offset / region.grain;
  target.entries = region_entries[index] + first;
  target.count = (target.offset + target.bytes - 1) / region.grain - first + 1;
  target.check_written = !region.initialised;
  touch(target, access);
}

// The buffer that an address outside of every buffer was meant for, or one that it lies in; -1: none.
static int32_t nearest_region(const unsigned char* address) {
  for (uint32_t i = 0; i < state.job->regions; i++) {
    const unsigned char* start = state.mapping + state.regions[i].start;
    if (address + NEAR > start && address < start + state.regions[i].bytes + NEAR)
      return (int32_t)i;
  }
  return -1;
}

void locate(Finding* finding, const unsigned char* address) {
  bool in_group = address >= state.group_low && address < state.group_high;
  finding->region = in_group ? GROUP_REGION : nearest_region(address);
  if (in_group) finding->offset = address - state.group_low;
  if (finding->region < 0) return;
  finding->offset = address - (state.mapping + state.regions[finding->region].start);
}

static void check_elsewhere(Target target, Access access) {
  target.region = nearest_region(target.address);
  if (target.region < 0) {
    found_at(wild_access, target, 0);
    leave(stopped);
  }
  const Region& region = state.regions[target.region];
  target.offset = target.address - (state.mapping + region.start);
  outside(access == reading ? out_of_bounds_read : out_of_bounds_write, target, region.bytes);
}

void check(unsigned char* address, uint32_t bytes, Access access, bool atomic, uint64_t place) {
  Thread* thread = state.current;
  if (!thread) return;
  state.job->accesses++;
  state.last_place = place;
  finish_write();
  if (address >= thread->stack && address < thread->stack + state.job->stack_bytes) return;
  if (state.job->preempt_every && random_below(state.job->preempt_every) == 0) yield_thread();
  Target target = {};
  target.address = address;
  target.bytes = bytes;
  target.region = -1;
  target.place = place;
  target.atomic = atomic;
  if (address >= state.group_low && address + bytes <= state.group_high)
    return check_group_memory(target, access);
  for (uint32_t i = 0; i < state.job->regions; i++) {
    unsigned char* start = state.mapping + state.regions[i].start;
    if (address >= start && address + bytes <= start + state.regions[i].bytes)
      return check_region(target, access, i);
  }
  if (access == reading && address >= state.image_low && address < state.image_high) return;
  check_elsewhere(target, access);
}

void count_unwritten() {
  if (!state.job->checking) return;
  for (uint32_t i = 0; i < state.job->regions; i++) {
    Region& region = state.regions[i];
    if (!region.output || region.initialised) continue;
    for (uint64_t at = 0; at < region.bytes; at += region.grain)
      if (!region_entries[i][at / region.grain].writer) region.never_written += region.grain;
  }
}

}  // namespace metal_sim
