"""The head's product and soft-capped cross-entropy without the logits in memory. For Apple GPUs.

A threadgroup of four simdgroups makes 64 x 64 logits in registers, as a tiled product does, and
writes none of them: the forward kernel adds up their exponentials and writes one number per token
and 64 classes. With e = exp(c tanh(z / c)), which is at most exp(c), their sum S and R, the sum of
all but the target's,

    loss = log(S / e_target)        dz = dy (e / S - onehot) (1 - tanh^2)

and at the target e / S - 1 is -R / S, or its digits were gone where the model is sure. The backward
kernel makes the logits again and writes dz, for some of the tokens at a time; the two products with
it are MLX's own. S and R are kept.
"""

import mlx.core as mx

LARGEST_SOFTCAP = 70.0
"""exp(70) = 2.5e30 for every class of the largest vocabulary, 2^18, is still a float32."""
TILE = 64
THREADS = 128
CHUNK_ELEMENTS = 2**25
"""Of dz at a time: 128 MiB in float32, a few thousand tokens, enough to fill any GPU."""

HEADER = """
constant constexpr uint TILE = 64, DEPTH = 16, THREADS = 128, PART = 32, PIECES = PART / 8;
// Four floats beyond each row, or the rows of a matrix of 8 x 8 would share banks of the memory.
constant constexpr uint ROW = DEPTH + 4;

struct Capped {
    float value, slope;
};

// c tanh(z / c) and 1 - tanh^2, both from q = exp(-2 |z| / c): one exponential instead of two, and
// a slope whose digits are not lost where tanh is near 1.
inline Capped capped(float z, float c) {
    float q = precise::exp(-2.0f * abs(z) / c), under = 1.0f / (1.0f + q);
    return {copysign(c * (1.0f - q) * under, z), 4.0f * q * under * under};
}

// 64 rows of sixteen columns in float32; zeros beyond the ends.
template <typename P>
void read_tile(threadgroup float* tile, P rows, uint first, uint depth, uint count, uint width,
               uint thread_index) {
    for (uint e = thread_index; e < TILE * DEPTH; e += THREADS) {
        uint i = e / DEPTH, k = e % DEPTH;
        bool inside = first + i < count && depth + k < width;
        tile[i * ROW + k] = inside ? float(rows[size_t(first + i) * width + depth + k]) : 0.0f;
    }
}
"""
LOGITS = """
    threadgroup float x_tile[TILE * ROW], head_tile[TILE * ROW], pieces[4 * 64];
    uint tokens = x_shape[0], words = head_shape[0], width = x_shape[1];
    uint first_token = TILE * threadgroup_position_in_grid.y;
    uint first_word = TILE * threadgroup_position_in_grid.x;
    uint thread_index = thread_index_in_threadgroup, lane = thread_index_in_simdgroup;
    uint part_row = PART * (simdgroup_index_in_threadgroup / 2);
    uint part_column = PART * (simdgroup_index_in_threadgroup % 2);

    simdgroup_float8x8 logits[PIECES][PIECES];
    for (uint i = 0; i < PIECES; i++) {
        for (uint j = 0; j < PIECES; j++) logits[i][j] = simdgroup_float8x8(0.0f);  // its diagonal
    }
    for (uint depth = 0; depth < width; depth += DEPTH) {
        threadgroup_barrier(mem_flags::mem_threadgroup);  // all have used the last tiles
        read_tile(x_tile, x, first_token, depth, tokens, width, thread_index);
        read_tile(head_tile, head, first_word, depth, words, width, thread_index);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint k = 0; k < DEPTH; k += 8) {
            simdgroup_float8x8 a[PIECES], b[PIECES];
            for (uint i = 0; i < PIECES; i++) {
                simdgroup_load(a[i], x_tile + (part_row + 8 * i) * ROW + k, ROW);
                simdgroup_load(b[i], head_tile + (part_column + 8 * i) * ROW + k, ROW, 0, true);
            }
            for (uint i = 0; i < PIECES; i++) {
                for (uint j = 0; j < PIECES; j++) {
                    simdgroup_multiply_accumulate(logits[i][j], a[i], b[j], logits[i][j]);
                }
            }
        }
    }

    // By way of threadgroup memory, since which lane holds which element is not documented. There a
    // lane takes column lane % 8 of two rows of the piece, lane / 8 and four further on.
    threadgroup float* piece = pieces + 64 * simdgroup_index_in_threadgroup;
"""
FORWARD = f"""{LOGITS}
    threadgroup float halves[2 * TILE];
    for (uint i = 0; i < PIECES; i++) {{
        float2 others = 0.0f;
        for (uint j = 0; j < PIECES; j++) {{
            simdgroup_store(logits[i][j], piece, 8);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            uint word = first_word + part_column + 8 * j + lane % 8;
            for (uint half_piece = 0; half_piece < 2; half_piece++) {{
                uint token = first_token + part_row + 8 * i + 4 * half_piece + lane / 8;
                if (token < tokens && word < words && int(word) != int(targets[token])) {{
                    float z = piece[32 * half_piece + lane];
                    others[half_piece] += precise::exp(capped(z, softcap).value);
                }}
            }}
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }}
        for (ushort apart = 1; apart < 8; apart *= 2) others += simd_shuffle_xor(others, apart);
        if (lane % 8 == 0) {{
            uint at = TILE * (simdgroup_index_in_threadgroup % 2) + part_row + 8 * i + lane / 8;
            halves[at] = others[0];
            halves[at + 4] = others[1];
        }}
    }}
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index < TILE && first_token + thread_index < tokens) {{
        size_t at = size_t(first_token + thread_index) * threadgroups_per_grid.x;
        parts[at + threadgroup_position_in_grid.x] =
            halves[thread_index] + halves[TILE + thread_index];
    }}
"""
BACKWARD = f"""{LOGITS}
    for (uint i = 0; i < PIECES; i++) {{
        for (uint j = 0; j < PIECES; j++) {{
            simdgroup_store(logits[i][j], piece, 8);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            uint word = first_word + part_column + 8 * j + lane % 8;
            for (uint half_piece = 0; half_piece < 2; half_piece++) {{
                uint token = first_token + part_row + 8 * i + 4 * half_piece + lane / 8;
                if (token >= tokens || word >= words) continue;
                Capped z = capped(piece[32 * half_piece + lane], softcap);
                bool is_target = int(word) == int(targets[token]);
                float above = is_target ? -others[token] : precise::exp(z.value);
                dz[size_t(token) * words + word] = weight[token] * above * z.slope;
            }}
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }}
    }}
"""
INPUTS = ["x", "head", "targets", "softcap"]
_forward = mx.fast.metal_kernel(
    "linear_softcap_cross_entropy", INPUTS, ["parts"], FORWARD, header=HEADER
)
_backward = mx.fast.metal_kernel(
    "linear_softcap_cross_entropy_vjp",
    [*INPUTS, "others", "weight"],
    ["dz"],
    BACKWARD,
    header=HEADER,
)


def linear_softcap_cross_entropy(
    x: mx.array, head: mx.array, targets: mx.array, softcap: float
) -> mx.array:
    """Loss of each token, [tokens]; x [tokens, width], head [vocab, width], targets (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    counts = targets >= 0

    @mx.custom_function
    def losses(x: mx.array, head: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        [parts] = _forward(
            inputs=[x, head, targets, softcap],
            output_shapes=[(len(x), -(-len(head) // TILE))],
            output_dtypes=[mx.float32],
            **_launch(len(x), len(head)),
        )
        others = parts.sum(-1)
        wanted = head[mx.maximum(targets, 0)].astype(mx.float32)
        at_target = (x.astype(mx.float32) * wanted).sum(-1)
        at_target = mx.exp(softcap * mx.tanh(at_target / softcap))
        whole = others + at_target
        return mx.where(counts, mx.log(whole / at_target), 0.0), others, whole

    @losses.vjp
    def gradient(
        inputs: tuple[mx.array, ...], incoming: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array]:
        x, head = (mx.contiguous(one) for one in inputs)
        _, others, whole = outputs
        weight = mx.where(counts, incoming[0] / whole, 0.0)
        wide_head, of_head, of_x = head.astype(mx.float32), mx.zeros(head.shape), []
        chunk = max(CHUNK_ELEMENTS // len(head), TILE)
        for start in range(0, len(x), chunk):
            some = slice(start, start + chunk)
            tokens = len(x[some])
            [dz] = _backward(
                inputs=[x[some], head, targets[some], softcap, others[some], weight[some]],
                output_shapes=[(tokens, len(head))],
                output_dtypes=[mx.float32],
                **_launch(tokens, len(head)),
            )
            of_x.append((dz @ wide_head).astype(x.dtype))
            of_head = of_head + dz.T @ x[some].astype(mx.float32)
        return mx.concatenate(of_x), of_head.astype(head.dtype)

    return losses(x, head)[0]


def _launch(tokens: int, words: int) -> dict[str, tuple[int, int, int]]:
    return {
        "grid": (-(-words // TILE) * THREADS, -(-tokens // TILE), 1),
        "threadgroup": (THREADS, 1, 1),
    }
