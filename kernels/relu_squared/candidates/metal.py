"""max(x, 0)^2 as one Metal kernel forward and one backward. For Apple GPUs.

Both are bound by memory: forward moves two elements for each of x, backward three. Of the forward
only x is kept. A thread takes four neighbours, which the compiler can join into one load; a pointer
to float4 would need rows aligned to 16 bytes, which 513 elements or a slice do not give.
"""

import mlx.core as mx

THREADS = 256

HEADER = """
template <typename P>
float4 read_four(P from, size_t first, size_t size) {
    if (first + 4 <= size) {
        return float4(from[first], from[first + 1], from[first + 2], from[first + 3]);
    }
    float4 values = 0.0f;
    for (uint i = 0; i < 4 && first + i < size; i++) values[i] = float(from[first + i]);
    return values;
}

template <typename T>
void write_four(device T* to, size_t first, size_t size, float4 values) {
    if (first + 4 <= size) {
        for (uint i = 0; i < 4; i++) to[first + i] = T(values[i]);
    } else {
        for (uint i = 0; i < 4 && first + i < size; i++) to[first + i] = T(values[i]);
    }
}

// Not max(x, 0), which is 0 where x is NaN.
inline float4 positive(float4 x) { return select(x, float4(0.0f), x < 0.0f); }
"""
FORWARD = """
    size_t first = size_t(4) * thread_position_in_grid.x;
    size_t size = size_t(x_shape[0]) * x_shape[1] * x_shape[2];
    float4 kept = positive(read_four(x, first, size));
    write_four(y, first, size, kept * kept);
"""
BACKWARD = """
    size_t first = size_t(4) * thread_position_in_grid.x;
    size_t size = size_t(x_shape[0]) * x_shape[1] * x_shape[2];
    float4 slope = 2.0f * positive(read_four(x, first, size));
    write_four(dx, first, size, slope * read_four(dy, first, size));
"""
_forward = mx.fast.metal_kernel("relu_squared", ["x"], ["y"], FORWARD, header=HEADER)
_backward = mx.fast.metal_kernel("relu_squared_vjp", ["x", "dy"], ["dx"], BACKWARD, header=HEADER)


@mx.custom_function
def relu_squared(x: mx.array) -> mx.array:
    """x [batch, sequence, hidden] -> max(x, 0)^2, the same shape."""
    return _launch(_forward, [x])


@relu_squared.vjp
def _gradient(x: mx.array, dy: mx.array, y: mx.array) -> mx.array:
    return _launch(_backward, [x, dy])


def _launch(kernel, inputs: list[mx.array]) -> mx.array:  # type: ignore[no-untyped-def]
    x = inputs[0]
    return kernel(
        inputs=inputs,
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
        grid=(-(-x.size // 4), 1, 1),
        threadgroup=(THREADS, 1, 1),
    )[0]
