// All of it, and the words of the language that are no C++: the last thing that is included.
#pragma once
#include "metal_sim/atomics.h"
#include "metal_sim/packing.h"

using metal::vec;
using metal::matrix;
#define METAL_SIM_GLOBAL_VECTORS(T)                                                                \
  using metal::T##2; using metal::T##3; using metal::T##4;                                         \
  using metal::packed_##T##2; using metal::packed_##T##3; using metal::packed_##T##4;
METAL_SIM_GLOBAL_VECTORS(char)
METAL_SIM_GLOBAL_VECTORS(uchar)
METAL_SIM_GLOBAL_VECTORS(short)
METAL_SIM_GLOBAL_VECTORS(ushort)
METAL_SIM_GLOBAL_VECTORS(int)
METAL_SIM_GLOBAL_VECTORS(uint)
METAL_SIM_GLOBAL_VECTORS(long)
METAL_SIM_GLOBAL_VECTORS(ulong)
METAL_SIM_GLOBAL_VECTORS(half)
METAL_SIM_GLOBAL_VECTORS(float)
METAL_SIM_GLOBAL_VECTORS(bfloat)
using metal::bool2; using metal::bool3; using metal::bool4;
#define METAL_SIM_GLOBAL_MATRICES(T)                                                               \
  using metal::T##2x2; using metal::T##2x3; using metal::T##2x4; using metal::T##3x2;              \
  using metal::T##3x3; using metal::T##3x4; using metal::T##4x2; using metal::T##4x3;              \
  using metal::T##4x4;
METAL_SIM_GLOBAL_MATRICES(half)
METAL_SIM_GLOBAL_MATRICES(float)
METAL_SIM_GLOBAL_MATRICES(bfloat)

// rewrite.py turns `threadgroup float x[8];` into METAL_SIM_GROUP_VARIABLE float x[8];
// Before each variable lie unused bytes, so that running past its neighbour is noticed.
#define METAL_SIM_JOINED(a, b) a##b
#define METAL_SIM_NAMED(a, b) METAL_SIM_JOINED(a, b)
#ifdef METAL_SIM_ADDRESS_SPACES
#define device METAL_SIM_DEVICE
#define constant METAL_SIM_CONSTANT const
#define threadgroup METAL_SIM_GROUP
#define METAL_SIM_GROUP_VARIABLE static METAL_SIM_GROUP
#else
#define device
#define constant const
#define threadgroup
#define METAL_SIM_IN_GROUP static __attribute__((section("metal_sim_group")))
#define METAL_SIM_GROUP_VARIABLE                                                                   \
  METAL_SIM_IN_GROUP __attribute__((used)) char METAL_SIM_NAMED(metal_sim_gap_, __COUNTER__)[256]; \
  METAL_SIM_IN_GROUP
#endif
#define thread
#define kernel
