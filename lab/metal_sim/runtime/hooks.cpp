// What the compiler's own checks call: thread sanitizer's before each access, undefined behaviour's
// where a check failed. The kernel is compiled for both; their own runtimes are not used.
#include <string.h>

#include "checks.h"

using namespace metal_sim;

#define PLACE ((uint64_t)__builtin_return_address(0))
#define HOOK(NAME, BYTES, ACCESS)                                                                  \
  void NAME(void* address) { check((unsigned char*)address, BYTES, ACCESS, false, PLACE); }
#define HOOKS(BYTES)                                                                               \
  HOOK(__tsan_read##BYTES, BYTES, reading)                                                         \
  HOOK(__tsan_write##BYTES, BYTES, writing)                                                        \
  HOOK(__tsan_read_write##BYTES, BYTES, updating)                                                  \
  HOOK(__tsan_unaligned_read##BYTES, BYTES, reading)                                               \
  HOOK(__tsan_unaligned_write##BYTES, BYTES, writing)                                              \
  HOOK(__tsan_unaligned_read_write##BYTES, BYTES, updating)

struct Said {  // what each check of undefined behaviour is handed first
  const char* file;
  uint32_t line, column;
};

struct SaidOfType {
  Said said;
  const void* type;
  unsigned char alignment_bits;
};

static Finding* found_in_source(Kind kind, uint64_t place, const Said* said, uint64_t value) {
  Finding* finding = found(kind, place);
  if (!finding) return nullptr;
  finding->value = (int64_t)value;
  finding->line = said->line;
  finding->part = (uint32_t)said->file[0];
  return finding;
}

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
  if (bytes) check((unsigned char*)from, bytes, reading, false, PLACE);
  if (bytes) check((unsigned char*)to, bytes, writing, false, PLACE);
  return memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, unsigned long bytes) {
  if (bytes) check((unsigned char*)from, bytes, reading, false, PLACE);
  if (bytes) check((unsigned char*)to, bytes, writing, false, PLACE);
  return memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, unsigned long bytes) {
  if (bytes) check((unsigned char*)to, bytes, writing, false, PLACE);
  return memset(to, value, bytes);
}
void __ubsan_handle_out_of_bounds(Said* said, uint64_t index) {
  found_in_source(array_index, PLACE, said, index);
}
void __ubsan_handle_type_mismatch_v1_abort(const SaidOfType* said, unsigned char* address) {
  if (Finding* finding = found_in_source(misaligned, PLACE, &said->said, 0)) {
    finding->bytes = 1u << said->alignment_bits;
    locate(finding, address);
  }
  leave(stopped);  // the compiled code ends here
}
void __ubsan_handle_shift_out_of_bounds(Said* said, uint64_t, uint64_t by) {
  found_in_source(wild_shift, PLACE, said, by);
}
void __ubsan_handle_divrem_overflow(Said* said, uint64_t, uint64_t by) {
  found_in_source(division_by_zero, PLACE, said, by);
  leave(stopped);  // the CPU would fault on the division itself
}
}
