"""The stream's mix and its RMS norm as one Metal kernel forward and one backward. For Apple GPUs.

One threadgroup takes one row and holds it in registers, so that each element is read once and
written once. With m = kept x + added x0, r = 1 / sqrt(mean(m^2) + eps) and y = m r, the gradient of
m is dm + r (dy - y mean(dy y)), of which each input's is a multiple. m and r are made again from x
and x0, which the factors' gradients need in any case. These are sums over all elements: a kernel
writes one part per row and MLX adds them up, in the same order every time, as atomics would not.
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
    threadgroup float2 parts[2][32];
    uint width = x_shape[2], row = threadgroup_position_in_grid.x;
    size_t start = size_t(row) * width;
    auto x_row = x + start;
    auto x0_row = x0 + start;
    uint first = 4 * thread_position_in_threadgroup.x, step = 4 * threads_per_threadgroup.x;
    uint lane = thread_index_in_simdgroup, simdgroup = simdgroup_index_in_threadgroup;
    uint simdgroups = simdgroups_per_threadgroup;
"""
FORWARD = f"""{ROW}
    float4 m[CHUNKS];
    float2 sums = 0.0f;
    for (int i = 0; i < CHUNKS; i++) {{
        uint at = first + i * step;
        m[i] = kept[0] * read_four(x_row, at, width) + added[0] * read_four(x0_row, at, width);
        sums.x += dot(m[i], m[i]);
    }}
    sums = sum_of_group(sums, parts[0], lane, simdgroup, simdgroups);
    float r = precise::rsqrt(sums.x / width + eps);
    for (int i = 0; i < CHUNKS; i++) {{
        write_four(mixed + start, first + i * step, width, m[i]);
        write_four(y + start, first + i * step, width, m[i] * r);
    }}
"""
BACKWARD = f"""{ROW}
    auto dy_row = dy + start;
    auto dmixed_row = dmixed + start;
    float4 a[CHUNKS], b[CHUNKS], slope[CHUNKS];
    float2 sums = 0.0f;
    for (int i = 0; i < CHUNKS; i++) {{
        uint at = first + i * step;
        a[i] = read_four(x_row, at, width);
        b[i] = read_four(x0_row, at, width);
        slope[i] = read_four(dy_row, at, width);
        float4 m = kept[0] * a[i] + added[0] * b[i];
        sums += float2(dot(m, m), dot(m, slope[i]));
    }}
    sums = sum_of_group(sums, parts[0], lane, simdgroup, simdgroups);
    float r = precise::rsqrt(sums.x / width + eps);
    float along = r * (sums.y / width) * r;
    sums = 0.0f;
    for (int i = 0; i < CHUNKS; i++) {{
        uint at = first + i * step;
        float4 m = kept[0] * a[i] + added[0] * b[i];
        float4 dm = read_four(dmixed_row, at, width) + r * (slope[i] - along * m);
        sums += float2(dot(dm, a[i]), dot(dm, b[i]));
        write_four(dx + start, at, width, kept[0] * dm);
        write_four(dx0 + start, at, width, added[0] * dm);
    }}
    // Into the other parts: a slow simdgroup may still be reading the first ones.
    sums = sum_of_group(sums, parts[1], lane, simdgroup, simdgroups);
    if (first == 0) {{
        of_factors[2 * row] = sums.x;
        of_factors[2 * row + 1] = sums.y;
    }}
"""
INPUTS = ["x", "x0", "kept", "added", "eps"]
_forward = mx.fast.metal_kernel("residual_rmsnorm", INPUTS, ["mixed", "y"], FORWARD, header=HEADER)
_backward = mx.fast.metal_kernel(
    "residual_rmsnorm_vjp",
    [*INPUTS, "dmixed", "dy"],
    ["dx", "dx0", "of_factors"],
    BACKWARD,
    header=HEADER,
)


def residual_rmsnorm(
    x: mx.array, x0: mx.array, kept: mx.array, added: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """x, x0 [batch, sequence, width], kept, added [1] -> the mixed stream and its norm."""
    rows = x.shape[0] * x.shape[1]
    fours = -(-x.shape[-1] // 4)
    threads = min(-(-fours // LANES) * LANES, MOST_THREADS)
    launch = {
        "template": [("CHUNKS", -(-fours // threads))],
        "grid": (rows * threads, 1, 1),
        "threadgroup": (threads, 1, 1),
    }

    @mx.custom_function
    def mixed_and_normalised(
        x: mx.array, x0: mx.array, kept: mx.array, added: mx.array
    ) -> tuple[mx.array, mx.array]:
        mixed, y = _forward(
            inputs=[x, x0, kept, added, eps],
            output_shapes=[x.shape] * 2,
            output_dtypes=[x.dtype] * 2,
            **launch,
        )
        return mixed, y

    @mixed_and_normalised.vjp
    def gradient(
        inputs: tuple[mx.array, ...], incoming: tuple[mx.array, ...], outputs: object
    ) -> tuple[mx.array, ...]:
        dx, dx0, of_factors = _backward(
            inputs=[*inputs, eps, *incoming],
            output_shapes=[x.shape, x.shape, (rows, 2)],
            output_dtypes=[x.dtype, x.dtype, mx.float32],
            **launch,
        )
        of_factors = of_factors.sum(0)
        return dx, dx0, of_factors[:1], of_factors[1:]

    return mixed_and_normalised(x, x0, kept, added)
