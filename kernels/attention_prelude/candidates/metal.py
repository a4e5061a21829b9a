"""Projections, rotation and norm of q and k: one Metal kernel forward and one backward. For Apple
GPUs.

The three matrices stand below one another, so that forward is one product of MLX and backward two;
the kernels do what lies between. One simdgroup takes one token with all its heads, of q and of k.
Its row of both tables is read once into registers, and so is each head's vector: every element is
read once and written once, and the sums need no threadgroup memory and no barrier. With z the
turned vector and y = z r, the gradient is dz = r (dy - y mean(dy y)), turned back. Kept are the
projections; z and r are made again from them. The backward writes the gradients of q, k and v side
by side, as the products need them.
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
# `flat` has the heads of q, then those of k, then those of v.
TOKEN = """
    uint token = thread_position_in_grid.y, position = token % flat_shape[1];
    uint heads = flat_shape[2] / 3, half_width = cos_shape[1];
    uint first = PAIRS * thread_index_in_simdgroup;
    float2 angles[PAIRS];
    for (uint i = 0; i < PAIRS; i++) {
        size_t at = size_t(position) * half_width + first + i;
        angles[i] = first + i < half_width ? float2(cos[at], sin[at]) : float2(0.0f);
    }
    size_t own = size_t(token) * heads * 2 * half_width;
    size_t q = 3 * own, k = q + heads * 2 * half_width, v = k + heads * 2 * half_width;
"""
FORWARD = f"""{TOKEN}
    for (uint at = 0; at < heads * 2 * half_width; at += 2 * half_width) {{
        normalise<PAIRS>(flat + q + at, y_q + own + at, first, half_width, angles, eps);
        normalise<PAIRS>(flat + k + at, y_k + own + at, first, half_width, angles, eps);
    }}
"""
BACKWARD = f"""{TOKEN}
    for (uint at = 0; at < heads * 2 * half_width; at += 2 * half_width) {{
        differentiate<PAIRS>(
            flat + q + at, dy_q + own + at, d_flat + q + at, first, half_width, angles, eps);
        differentiate<PAIRS>(
            flat + k + at, dy_k + own + at, d_flat + k + at, first, half_width, angles, eps);
        float2 unchanged[PAIRS];
        read_pairs<PAIRS>(d_v + own + at, first, half_width, unchanged);
        write_pairs<PAIRS>(d_flat + v + at, first, half_width, unchanged);
    }}
"""
INPUTS = ["flat", "cos", "sin", "eps"]
_forward = mx.fast.metal_kernel("attention_prelude", INPUTS, ["y_q", "y_k"], FORWARD, header=HEADER)
_backward = mx.fast.metal_kernel(
    "attention_prelude_vjp",
    [*INPUTS, "dy_q", "dy_k", "d_v"],
    ["d_flat"],
    BACKWARD,
    header=HEADER,
)


def attention_prelude(
    x: mx.array,
    query: mx.array,
    key: mx.array,
    value: mx.array,
    cos: mx.array,
    sin: mx.array,
    eps: float,
) -> tuple[mx.array, mx.array, mx.array]:
    """x [batch, sequence, width], matrices [heads, head_dim, width], tables [sequence,
    head_dim / 2] -> q, k and v [batch, sequence, heads, head_dim]."""
    heads, head_dim, _ = query.shape
    shape = (*x.shape[:2], heads, head_dim)
    launch = {
        "template": [("PAIRS", -(-head_dim // 2 // LANES))],
        "grid": (LANES, x.shape[0] * x.shape[1], 1),
        "threadgroup": (LANES, TOKENS, 1),
    }

    @mx.custom_function
    def prelude(x: mx.array, matrices: mx.array) -> tuple[mx.array, ...]:
        flat = (x @ matrices.T).reshape(*x.shape[:2], 3 * heads, head_dim)
        q, k = _forward(
            inputs=[flat, cos, sin, eps],
            output_shapes=[shape, shape],
            output_dtypes=[x.dtype, x.dtype],
            **launch,
        )
        return q, k, flat[:, :, 2 * heads :], flat

    @prelude.vjp
    def gradient(
        given: tuple[mx.array, ...], incoming: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array]:
        x, matrices = given
        d_flat = _backward(
            inputs=[outputs[3], cos, sin, eps, *incoming[:3]],
            output_shapes=[outputs[3].shape],
            output_dtypes=[x.dtype],
            **launch,
        )[0].flatten(2)
        return d_flat @ matrices, d_flat.flatten(0, 1).T @ x.flatten(0, 1)

    matrices = mx.concatenate([query, key, value]).flatten(0, 1)
    q, k, v, _ = prelude(x, matrices)
    return q, k, v
