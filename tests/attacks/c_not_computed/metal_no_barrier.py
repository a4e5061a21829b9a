"""Adds up a row over threadgroup memory with no barrier before it is read.

Target: rmsnorm
Stage: verify
Expected: metal_finding
Language: metal
Notes: new with Metal
"""

import mlx.core as mx

SOURCE = """
    threadgroup float parts[32];
    uint row = threadgroup_position_in_grid.x, width = x_shape[2];
    uint lane = thread_index_in_threadgroup;
    float sum = 0.0f;
    for (uint i = lane; i < width; i += 32)
        sum += float(x[row * width + i]) * float(x[row * width + i]);
    parts[lane] = sum;
    sum = 0.0f;
    for (uint i = 0; i < 32; i++) sum += parts[i];
    float r = precise::rsqrt(sum / width + eps);
    for (uint i = lane; i < width; i += 32) y[row * width + i] = T(float(x[row * width + i]) * r);
"""
KERNEL = mx.fast.metal_kernel("rmsnorm", ["x", "eps"], ["y"], SOURCE)


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return KERNEL(
        inputs=[x, eps],
        template=[("T", x.dtype)],
        grid=(32 * x.shape[0] * x.shape[1], 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
    )[0]
