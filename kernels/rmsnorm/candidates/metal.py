"""RMS norm as one Metal kernel forward and one backward. For Apple GPUs.

One threadgroup normalises one row and holds it in registers, so that each element is read once and
written once. With r = 1 / sqrt(mean(x^2) + eps) and y = x r, the gradient is r (dy - y mean(dy y)).
r is not kept but made again from x, which the backward reads in any case: it costs no bytes, only a
second sum beside the one of dy x.
"""

import mlx.core as mx

LANES = 32
MOST_THREADS = 1024

HEADER = """
template <typename P>
float4 read_four(P row, uint first, uint width) {
    if (first + 4 <= width) {
        return float4(row[first], row[first + 1], row[first + 2], row[first + 3]);
    }
    float4 values = 0.0f;
    for (uint i = 0; i < 4 && first + i < width; i++) values[i] = float(row[first + i]);
    return values;
}

template <typename T>
void write_four(device T* row, uint first, uint width, float4 values) {
    if (first + 4 <= width) {
        for (uint i = 0; i < 4; i++) row[first + i] = T(values[i]);
    } else {
        for (uint i = 0; i < 4 && first + i < width; i++) row[first + i] = T(values[i]);
    }
}

// Every simdgroup adds up the parts by itself: one barrier, and all threads know the sum.
inline float2 sum_of_group(
    float2 own, threadgroup float2* parts, uint lane, uint simdgroup, uint simdgroups) {
    own = float2(simd_sum(own.x), simd_sum(own.y));
    if (lane == 0) parts[simdgroup] = own;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float2 part = lane < simdgroups ? parts[lane] : float2(0.0f);
    return float2(simd_sum(part.x), simd_sum(part.y));
}
"""
# `auto`, as an input of fewer than eight elements is `constant` memory and not `device`.
ROW = """
    threadgroup float2 parts[32];
    uint width = x_shape[2];
    size_t start = size_t(threadgroup_position_in_grid.x) * width;
    auto x_row = x + start;
    uint first = 4 * thread_position_in_threadgroup.x, step = 4 * threads_per_threadgroup.x;
"""
FORWARD = f"""{ROW}
    float4 kept[CHUNKS];
    float2 sums = 0.0f;
    for (int i = 0; i < CHUNKS; i++) {{
        kept[i] = read_four(x_row, first + i * step, width);
        sums.x += dot(kept[i], kept[i]);
    }}
    sums = sum_of_group(sums, parts, thread_index_in_simdgroup, simdgroup_index_in_threadgroup,
                        simdgroups_per_threadgroup);
    float r = precise::rsqrt(sums.x / width + eps);
    for (int i = 0; i < CHUNKS; i++) write_four(y + start, first + i * step, width, kept[i] * r);
"""
BACKWARD = f"""{ROW}
    auto dy_row = dy + start;
    float4 kept[CHUNKS], incoming[CHUNKS];
    float2 sums = 0.0f;
    for (int i = 0; i < CHUNKS; i++) {{
        kept[i] = read_four(x_row, first + i * step, width);
        incoming[i] = read_four(dy_row, first + i * step, width);
        sums += float2(dot(kept[i], kept[i]), dot(kept[i], incoming[i]));
    }}
    sums = sum_of_group(sums, parts, thread_index_in_simdgroup, simdgroup_index_in_threadgroup,
                        simdgroups_per_threadgroup);
    float r = precise::rsqrt(sums.x / width + eps);
    float along = r * (sums.y / width) * r;
    for (int i = 0; i < CHUNKS; i++) {{
        write_four(dx + start, first + i * step, width, r * (incoming[i] - along * kept[i]));
    }}
"""
_forward = mx.fast.metal_kernel("rmsnorm", ["x", "eps"], ["y"], FORWARD, header=HEADER)
_backward = mx.fast.metal_kernel("rmsnorm_vjp", ["x", "dy", "eps"], ["dx"], BACKWARD, header=HEADER)


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    """x [batch, sequence, width] -> the same shape, every row divided by its root mean square."""

    @mx.custom_function
    def normalised(x: mx.array) -> mx.array:
        return _launch(_forward, x, [x, eps])

    @normalised.vjp
    def gradient(x: mx.array, dy: mx.array, y: mx.array) -> mx.array:
        return _launch(_backward, x, [x, dy, eps])

    return normalised(x)


def _launch(kernel, x: mx.array, inputs: list) -> mx.array:  # type: ignore[no-untyped-def,type-arg]
    """One threadgroup per row, of whole simdgroups, with four elements per thread; of wider rows
    than 4096 a thread takes several fours."""
    fours = -(-x.shape[-1] // 4)
    threads = min(-(-fours // LANES) * LANES, MOST_THREADS)
    return kernel(
        inputs=inputs,
        template=[("CHUNKS", -(-fours // threads))],
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
        grid=(x.shape[0] * x.shape[1] * threads, 1, 1),
        threadgroup=(threads, 1, 1),
    )[0]
