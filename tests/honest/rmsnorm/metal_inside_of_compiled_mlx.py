"""A Metal kernel for the sums of squares only, which reads strides; the rest is compiled MLX.

Language: metal
"""

from functools import partial

import mlx.core as mx

SOURCE = """
    uint row = thread_position_in_grid.x;
    size_t start = row / x_shape[1] * x_strides[0] + row % x_shape[1] * x_strides[1];
    float sum = 0.0f;
    for (int i = 0; i < x_shape[2]; i++) {
        float value = float(x[start + i * x_strides[2]]);
        sum += value * value;
    }
    squares[row] = sum;
"""
_squares = mx.fast.metal_kernel(
    "sums_of_squares", ["x"], ["squares"], SOURCE, ensure_row_contiguous=False
)


@mx.custom_function
def sums_of_squares(x: mx.array) -> mx.array:
    rows = x.shape[0] * x.shape[1]
    return _squares(
        inputs=[x],
        grid=(rows, 1, 1),
        threadgroup=(min(rows, 256), 1, 1),
        output_shapes=[(*x.shape[:2], 1)],
        output_dtypes=[mx.float32],
    )[0]


@sums_of_squares.vjp
def gradient(x: mx.array, incoming: mx.array, squares: mx.array) -> mx.array:
    return 2 * x * incoming


@partial(mx.compile, shapeless=False)
def normalised(wide: mx.array, eps: float) -> mx.array:
    return wide * mx.rsqrt(sums_of_squares(wide) / wide.shape[-1] + eps)


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    return normalised(x.astype(mx.float32), eps).astype(x.dtype)
