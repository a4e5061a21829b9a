"""The gated value embedding as one Metal kernel forward and one backward. For Apple GPUs.

One simdgroup takes four tokens with all their heads. A lane holds one of the gate's channels, at
most 32, of each token; a gate is then one `simd_sum`, and no weight is read more often than once
for four tokens. The gate is made again in the backward, which costs no bytes. The gradient of value
is the incoming one itself. That of the weight is a sum over all tokens: the kernel writes one
number per token and head, 1 / head_dim of the data, and MLX multiplies them with x.
"""

import mlx.core as mx

LANES = 32
TOKENS = 4
SIMDGROUPS = 8
"""In a threadgroup; they share nothing."""

HEADER = """
constant constexpr uint TOKENS = 4, LANES = 32;

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
# Every condition on a token holds for the whole simdgroup, so that all lanes meet in simd_sum.
# Loops over tokens have a constant bound: they unroll, and `read` stays in registers.
TOKENS_OF_LANE = """
    uint lane = thread_position_in_grid.x, first_token = TOKENS * thread_position_in_grid.y;
    uint width = x_shape[2], heads = weight_shape[0], channels = weight_shape[1];
    uint head_dim = embedding_shape[3];
    uint tokens = x_shape[0] * x_shape[1], count = min(TOKENS, tokens - first_token);
    float read[TOKENS];
    for (uint t = 0; t < TOKENS; t++) {
        bool inside = t < count && lane < channels;
        read[t] = inside ? float(x[size_t(first_token + t) * width + lane]) : 0.0f;
    }
"""
FORWARD = f"""{TOKENS_OF_LANE}
    for (uint head = 0; head < heads; head++) {{
        float own_weight = lane < channels ? float(weight[head * channels + lane]) : 0.0f;
        for (uint t = 0; t < TOKENS && t < count; t++) {{
            float gate = 2.0f / (1.0f + precise::exp(-simd_sum(own_weight * read[t])));
            size_t start = (size_t(first_token + t) * heads + head) * head_dim;
            for (uint at = 4 * lane; at < head_dim; at += 4 * LANES) {{
                float4 gated = gate * read_four(embedding + start, at, head_dim);
                write_four(y + start, at, head_dim, read_four(value + start, at, head_dim) + gated);
            }}
        }}
    }}
"""
BACKWARD = f"""{TOKENS_OF_LANE}
    float of_read[TOKENS] = {{0.0f, 0.0f, 0.0f, 0.0f}};
    for (uint head = 0; head < heads; head++) {{
        float own_weight = lane < channels ? float(weight[head * channels + lane]) : 0.0f;
        for (uint t = 0; t < TOKENS && t < count; t++) {{
            // 2 sigmoid(z) and its slope 2 sigmoid(z) sigmoid(-z), whose digits no 1 - sigmoid eats
            float e = precise::exp(-simd_sum(own_weight * read[t]));
            float gate = 2.0f / (1.0f + e);
            size_t start = (size_t(first_token + t) * heads + head) * head_dim;
            float along = 0.0f;
            for (uint at = 4 * lane; at < head_dim; at += 4 * LANES) {{
                float4 incoming = read_four(dy + start, at, head_dim);
                along += dot(incoming, read_four(embedding + start, at, head_dim));
                write_four(dembedding + start, at, head_dim, gate * incoming);
            }}
            float slope = simd_sum(along) * gate * (e / (1.0f + e));
            of_read[t] += slope * own_weight;
            if (lane == 0) slopes[size_t(first_token + t) * heads + head] = slope;
        }}
    }}
    for (uint t = 0; t < TOKENS && t < count; t++) {{
        for (uint channel = lane; channel < width; channel += LANES) {{
            float own = channel < channels ? of_read[t] : 0.0f;
            dx[size_t(first_token + t) * width + channel] = T(own);
        }}
    }}
"""
_forward = mx.fast.metal_kernel(
    "value_embed_gate", ["x", "weight", "value", "embedding"], ["y"], FORWARD, header=HEADER
)
_backward = mx.fast.metal_kernel(
    "value_embed_gate_vjp",
    ["x", "weight", "embedding", "dy"],
    ["dx", "dembedding", "slopes"],
    BACKWARD,
    header=HEADER,
)


@mx.custom_function
def value_embed_gate(
    x: mx.array, weight: mx.array, value: mx.array, embedding: mx.array
) -> mx.array:
    """x [batch, sequence, width], weight [heads, channels], value and embedding
    [batch, sequence, heads, head_dim] -> value plus the embedding, gated per token and head."""
    if weight.shape[1] > LANES:
        raise ValueError(f"the gate reads at most {LANES} channels, not {weight.shape[1]}")
    return _forward(
        inputs=[x, weight, value, embedding],
        output_shapes=[value.shape],
        output_dtypes=[value.dtype],
        **_launch(x),
    )[0]


@value_embed_gate.vjp
def _gradient(inputs: tuple[mx.array, ...], dy: mx.array, y: mx.array) -> tuple[mx.array, ...]:
    x, weight, _, embedding = inputs
    heads, channels = weight.shape
    tokens = x.shape[0] * x.shape[1]
    dx, dembedding, slopes = _backward(
        inputs=[x, weight, embedding, dy],
        template=[("T", x.dtype)],
        output_shapes=[x.shape, embedding.shape, (tokens, heads)],
        output_dtypes=[x.dtype, embedding.dtype, mx.float32],
        **_launch(x),
    )
    read = x[..., :channels].reshape(tokens, channels).astype(mx.float32)
    return dx, (slopes.T @ read).astype(weight.dtype), dy, dembedding


def _launch(x: mx.array) -> dict[str, tuple[int, int, int]]:
    """The grid counts threads: 32 lanes by groups of tokens, so that a row of it is a simdgroup."""
    groups = -(-(x.shape[0] * x.shape[1]) // TOKENS)
    return {"grid": (LANES, groups, 1), "threadgroup": (LANES, SIMDGROUPS, 1)}
