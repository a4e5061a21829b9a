// Memory checks: every load and store of a checked kernel passes through check().
#pragma once
#include "state.h"

namespace metal_sim {
enum Access : uint32_t { reading, writing, updating };  // as in include/metal_sim/atomics.h
void check(unsigned char* address, uint32_t bytes, Access access, bool atomic, uint64_t place);
void locate(Finding* finding, const unsigned char* address);  // says which memory it is about
}  // namespace metal_sim
