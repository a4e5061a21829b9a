// Stands in for MLX's header of this name, which wraps internal functions of Apple's compiler:
// metal_sim/math.h has the same functions for bfloat.
#pragma once
