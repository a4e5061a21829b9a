"""Soft-capped cross-entropy as one Metal kernel forward and one backward. For Apple GPUs.

One threadgroup takes one token and goes through its logits once, forward and backward each. No
logit is above the cap c, so that nobody has to look for the largest first: with e = exp(c tanh(z /
c)), their sum S and R, the sum of all but the target's,

    loss = log(S / e_target)        dz = dy (e / S - onehot) (1 - tanh^2)

S and R are kept, two numbers per token. At the target e / S - 1 is -R / S, or its digits were gone
where the model is sure. The rows of ignored tokens are not read at all.
"""

import mlx.core as mx

LARGEST_SOFTCAP = 70.0
"""exp(70) = 2.5e30 for every class of the largest vocabulary, 2^18, is still a float32."""
LANES = 32
MOST_THREADS = 256
"""Enough to hide the reads, few enough for several tokens at a time on one core of the GPU."""

HEADER = """
struct Capped {
    float4 value, slope;
};

// c tanh(z / c) and 1 - tanh^2, both from q = exp(-2 |z| / c): one exponential instead of two, and
// a slope whose digits are not lost where tanh is near 1.
inline Capped capped(float4 z, float c) {
    float4 q = precise::exp(-2.0f * abs(z) / c), under = 1.0f / (1.0f + q);
    Capped both;
    both.value = copysign(c * (1.0f - q) * under, z);
    both.slope = 4.0f * q * under * under;
    return both;
}

// Zeros beyond the end; exp(0) is 1, so who sums looks at the columns as well.
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
"""
TOKEN = """
    uint token = threadgroup_position_in_grid.x, vocab = logits_shape[1];
    size_t start = size_t(token) * vocab;
    auto row = logits + start;
    int target = targets[token];
    uint first = 4 * thread_position_in_threadgroup.x, step = 4 * threads_per_threadgroup.x;
"""
# The whole threadgroup has one target and returns as one, so that no barrier is missed.
FORWARD = f"""
    threadgroup float parts[32];
{TOKEN}
    if (target < 0) {{
        if (first == 0) {{
            loss[token] = 0.0f;
            sums[2 * token] = 1.0f;
            sums[2 * token + 1] = 0.0f;
        }}
        return;
    }}
    float others = 0.0f;
    for (uint column = first; column < vocab; column += step) {{
        float4 e = precise::exp(capped(read_four(row, column, vocab), softcap).value);
        uint4 columns = column + uint4(0, 1, 2, 3);
        others += dot(e, float4(columns < vocab && columns != uint(target)));
    }}
    others = simd_sum(others);
    if (thread_index_in_simdgroup == 0) parts[simdgroup_index_in_threadgroup] = others;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup_index_in_threadgroup > 0) return;
    uint lane = thread_index_in_simdgroup;
    others = simd_sum(lane < simdgroups_per_threadgroup ? parts[lane] : 0.0f);
    if (lane == 0) {{
        float at_target = precise::exp(capped(float4(float(row[target])), softcap).value.x);
        loss[token] = precise::log((others + at_target) / at_target);
        sums[2 * token] = others + at_target;
        sums[2 * token + 1] = others;
    }}
"""
BACKWARD = f"""
{TOKEN}
    float weight = target < 0 ? 0.0f : dy[token] / sums[2 * token];
    float others = sums[2 * token + 1];
    for (uint column = first; column < vocab; column += step) {{
        float4 dz = 0.0f;
        if (target >= 0) {{
            Capped z = capped(read_four(row, column, vocab), softcap);
            uint4 columns = column + uint4(0, 1, 2, 3);
            float4 above = select(precise::exp(z.value), float4(-others), columns == uint(target));
            dz = weight * above * z.slope;
        }}
        write_four(dlogits + start, column, vocab, dz);
    }}
"""
_forward = mx.fast.metal_kernel(
    "softcap_cross_entropy",
    ["logits", "targets", "softcap"],
    ["loss", "sums"],
    FORWARD,
    header=HEADER,
)
_backward = mx.fast.metal_kernel(
    "softcap_cross_entropy_vjp",
    ["logits", "targets", "softcap", "sums", "dy"],
    ["dlogits"],
    BACKWARD,
    header=HEADER,
)


def softcap_cross_entropy(logits: mx.array, targets: mx.array, softcap: float) -> mx.array:
    """Loss of each token, [tokens], from logits [tokens, vocab] and targets [tokens] (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    tokens, vocab = logits.shape
    fours = -(-vocab // 4)
    threads = min(-(-fours // LANES) * LANES, MOST_THREADS)
    launch = {"grid": (tokens * threads, 1, 1), "threadgroup": (threads, 1, 1)}

    @mx.custom_function
    def losses(logits: mx.array) -> tuple[mx.array, mx.array]:
        loss, sums = _forward(
            inputs=[logits, targets, softcap],
            output_shapes=[(tokens,), (tokens, 2)],
            output_dtypes=[mx.float32, mx.float32],
            **launch,
        )
        return loss, sums

    @losses.vjp
    def gradient(
        logits: mx.array, incoming: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> mx.array:
        return _backward(
            inputs=[logits, targets, softcap, outputs[1], incoming[0]],
            output_shapes=[logits.shape],
            output_dtypes=[logits.dtype],
            **launch,
        )[0]

    return losses(logits)[0]
