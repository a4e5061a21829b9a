"""Reads behind its input, where expected values might lie.

Target: rmsnorm
Stage: verify
Expected: metal_finding
Language: metal
Notes: new with Metal
"""

import mlx.core as mx

SOURCE = """
    uint row = thread_position_in_grid.x, width = x_shape[2];
    uint elements = x_shape[0] * x_shape[1] * width;
    for (uint i = 0; i < width; i++) y[row * width + i] = T(x[elements + row * width + i]);
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
