"""Rotary embedding and RMS norm of q and k as one Metal kernel forward and one backward. For Apple
GPUs.

One simdgroup takes one token with all its heads, of q and of k. Its row of both tables is read once
into registers, and so is each head's vector: every element is read once and written once, and the
sums need no threadgroup memory and no barrier. With z the turned vector and y = z r, the gradient
is dz = r (dy - y mean(dy y)), turned back. z and r are made again from q and k, which costs no
bytes that keeping y would not cost.
"""

import mlx.core as mx

LANES = 32
TOKENS = 8
"""Simdgroups in a threadgroup; they share nothing."""

HEADER = """
// N neighbouring pairs of channels per lane: (i, i + half) for i from `first` on.
template <int N, typename P>
void read_pairs(P row, uint first, uint half_width, thread float2* pairs) {
    for (uint i = 0; i < N; i++) {
        bool inside = first + i < half_width;
        pairs[i].x = inside ? float(row[first + i]) : 0.0f;
        pairs[i].y = inside ? float(row[first + i + half_width]) : 0.0f;
    }
}

template <int N, typename T>
void write_pairs(device T* row, uint first, uint half_width, const thread float2* pairs) {
    for (uint i = 0; i < N && first + i < half_width; i++) {
        row[first + i] = T(pairs[i].x);
        row[first + i + half_width] = T(pairs[i].y);
    }
}

// By minus the angle, as (cos, sin) says.
inline float2 turned(float2 pair, float2 by) {
    return float2(pair.x * by.x + pair.y * by.y, pair.y * by.x - pair.x * by.y);
}

template <int N, typename P, typename T>
void normalise(P from, device T* to, uint first, uint half_width, const thread float2* angles,
             float eps) {
    float2 z[N];
    float squares = 0.0f;
    read_pairs<N>(from, first, half_width, z);
    for (int i = 0; i < N; i++) {
        z[i] = turned(z[i], angles[i]);
        squares += dot(z[i], z[i]);
    }
    float r = precise::rsqrt(simd_sum(squares) / (2 * half_width) + eps);
    for (int i = 0; i < N; i++) z[i] *= r;
    write_pairs<N>(to, first, half_width, z);
}

template <int N, typename P, typename Q, typename T>
void differentiate(P from, Q incoming, device T* to, uint first, uint half_width,
              const thread float2* angles, float eps) {
    float2 z[N], dy[N];
    float squares = 0.0f, along = 0.0f;
    read_pairs<N>(from, first, half_width, z);
    read_pairs<N>(incoming, first, half_width, dy);
    for (int i = 0; i < N; i++) {
        z[i] = turned(z[i], angles[i]);
        squares += dot(z[i], z[i]);
        along += dot(z[i], dy[i]);
    }
    float r = precise::rsqrt(simd_sum(squares) / (2 * half_width) + eps);
    along = r * (simd_sum(along) / (2 * half_width)) * r;
    for (int i = 0; i < N; i++) {
        z[i] = turned(r * (dy[i] - along * z[i]), float2(angles[i].x, -angles[i].y));
    }
    write_pairs<N>(to, first, half_width, z);
}
"""
TOKEN = """
    uint token = thread_position_in_grid.y, position = token % q_shape[1], heads = q_shape[2];
    uint half_width = cos_shape[1], first = PAIRS * thread_index_in_simdgroup;
    float2 angles[PAIRS];
    for (uint i = 0; i < PAIRS; i++) {
        size_t at = size_t(position) * half_width + first + i;
        angles[i] = first + i < half_width ? float2(cos[at], sin[at]) : float2(0.0f);
    }
    size_t at = size_t(token) * heads * 2 * half_width;
"""
FORWARD = f"""{TOKEN}
    for (uint head = 0; head < heads; head++, at += 2 * half_width) {{
        normalise<PAIRS>(q + at, y_q + at, first, half_width, angles, eps);
        normalise<PAIRS>(k + at, y_k + at, first, half_width, angles, eps);
    }}
"""
BACKWARD = f"""{TOKEN}
    for (uint head = 0; head < heads; head++, at += 2 * half_width) {{
        differentiate<PAIRS>(q + at, dy_q + at, d_q + at, first, half_width, angles, eps);
        differentiate<PAIRS>(k + at, dy_k + at, d_k + at, first, half_width, angles, eps);
    }}
"""
_forward = mx.fast.metal_kernel(
    "rope_qk_norm", ["q", "k", "cos", "sin", "eps"], ["y_q", "y_k"], FORWARD, header=HEADER
)
_backward = mx.fast.metal_kernel(
    "rope_qk_norm_vjp",
    ["q", "k", "cos", "sin", "eps", "dy_q", "dy_k"],
    ["d_q", "d_k"],
    BACKWARD,
    header=HEADER,
)


def rope_qk_norm(
    q: mx.array, k: mx.array, cos: mx.array, sin: mx.array, eps: float
) -> tuple[mx.array, mx.array]:
    """q, k [batch, sequence, heads, head_dim], cos, sin [sequence, head_dim / 2] -> q, k."""

    @mx.custom_function
    def turned_and_normalised(q: mx.array, k: mx.array) -> tuple[mx.array, mx.array]:
        return _launch(_forward, [q, k, cos, sin, eps])

    @turned_and_normalised.vjp
    def gradient(
        inputs: tuple[mx.array, mx.array],
        incoming: tuple[mx.array, mx.array],
        outputs: tuple[mx.array, mx.array],
    ) -> tuple[mx.array, mx.array]:
        return _launch(_backward, [*inputs, cos, sin, eps, *incoming])

    return turned_and_normalised(q, k)


def _launch(kernel, inputs: list) -> tuple[mx.array, mx.array]:  # type: ignore[no-untyped-def,type-arg]
    """The grid counts threads: 32 lanes by tokens, so that a row of it is a simdgroup."""
    q, k, cos = inputs[:3]
    pairs = -(-cos.shape[-1] // LANES)
    first, second = kernel(
        inputs=inputs,
        template=[("PAIRS", pairs)],
        output_shapes=[q.shape, k.shape],
        output_dtypes=[q.dtype, k.dtype],
        grid=(LANES, q.shape[0] * q.shape[1], 1),
        threadgroup=(LANES, TOKENS, 1),
    )
    return first, second
