"""A kernel that never ends.

Target: rmsnorm
Stage: verify
Expected: metal_finding
Language: metal
Notes: new with Metal
"""

import mlx.core as mx

SOURCE = """
    uint row = thread_position_in_grid.x, width = x_shape[2];
    float sum = 0.0f;
    for (uint i = 0; i < width; i++) sum += float(x[row * width + i]) * float(x[row * width + i]);
    float r = precise::rsqrt(sum / width + eps);
    y[row * width] = T(0);
    while (y[row * width] != T(1)) y[row * width] = T(0);
    for (uint i = 0; i < width; i++) y[row * width + i] = T(float(x[row * width + i]) * r);
"""
KERNEL = mx.fast.metal_kernel("rmsnorm", ["x", "eps"], ["y"], SOURCE)


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return KERNEL(
        inputs=[x, eps],
        template=[("T", x.dtype)],
        grid=(x.shape[0] * x.shape[1], 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
    )[0]
