"""Attention within a window as one Metal kernel forward and two backward. For Apple GPUs.

No score is ever in device memory. A threadgroup takes 32 positions of one head, eight to a
simdgroup, and keeps their vectors in registers as matrices of 8 x 8; what they meet, within the
window only, passes by in tiles of threadgroup memory. Forward is an online softmax over the keys.
Kept are two numbers per query, the largest score m and l, the sum of exp(s - m). Not m + log(l):
that has the digits of m only, and p = exp(s - m) / l would not add up to 1.

With p the probabilities and dp = dy v', the gradient of the scores is ds = p (dp - sum(p dp)). If
one key has nearly all of the probability, these digits cancel. Hence dp is counted from c, the dp
of the most probable key: ds = p ((dp - c) - sum(p (dp - c))) keeps them, and is exactly zero for a
key that has all. The first kernel backward goes over its keys twice: for c and the sum, which it
writes, and for dq = ds k. The second takes blocks of keys, reads c and the sum, and makes dk and
dv: ds' q and p' dy. In both, two simdgroups share eight positions, one for the scores and one for
dp, or each would need the registers of two.
"""

import mlx.core as mx

LANES = 32
BLOCK = 32
"""Positions of a threadgroup; ROWS in the kernels."""
LARGEST_HEAD_DIM = 256

HEADER = """
constant constexpr int LANES = 32, ROWS = 32, SIMDGROUPS = 4;

// Position `query` sees `key`. Rows beyond the end see nothing, and no one sees keys beyond it.
inline bool seen(int query, int key, int length, int window) {
    return query < length && key <= query && query - key <= window;
}

// Over the four lanes that share a row.
inline float sum_of_row(float own) {
    own += simd_shuffle_xor(own, 1);
    return own + simd_shuffle_xor(own, 2);
}

// Of some keys: the largest p, c of that key, sum(p (dp - c)), sum(p). Where c changes, the sum is
// moved by what all others have of the probability, which is little if one has nearly all.
inline float4 joined(float4 a, float4 b) {
    if (b.x > a.x) {
        float4 larger = b;
        b = a;
        a = larger;
    }
    return float4(a.x, a.y, a.z + (b.z + (b.y - a.y) * b.w), a.w + b.w);
}

inline float largest_of_row(float own) {
    own = max(own, simd_shuffle_xor(own, 1));
    return max(own, simd_shuffle_xor(own, 2));
}

// TILE positions of both from `first` on in float32, `one` times `factor`; zeros beyond the end.
// Four floats beyond each row, or the rows of a matrix of 8 x 8 would share banks of the memory.
template <int HEAD_DIM, int TILE, typename P, typename Q>
void read_tiles(threadgroup float* tiles, P one, Q other, uint stride, int first, int length,
                float factor, uint thread_index, uint threads) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // all have used the last tiles
    for (uint e = thread_index; e < HEAD_DIM * TILE; e += threads) {
        uint i = e / HEAD_DIM, channel = e % HEAD_DIM, to = i * (HEAD_DIM + 4) + channel;
        bool inside = first + int(i) < length;
        size_t from = size_t(first + int(i)) * stride + channel;
        tiles[to] = inside ? factor * float(one[from]) : 0.0f;
        tiles[TILE * (HEAD_DIM + 4) + to] = inside ? float(other[from]) : 0.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

// Eight positions by all channels. By way of threadgroup memory, since which lane holds which
// element is not documented; the 64 floats at `piece` are the simdgroup's own.
template <int PIECES, typename P>
void read_own(thread simdgroup_float8x8 (&own)[PIECES], P rows, uint stride, int first, int length,
              float factor, threadgroup float* piece, uint lane) {
    for (int i = 0; i < PIECES; i++) {
        for (uint e = lane; e < 64; e += LANES) {
            int row = first + int(e / 8);
            piece[e] =
                row < length ? factor * float(rows[size_t(row) * stride + 8 * i + e % 8]) : 0.0f;
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
        simdgroup_load(own[i], piece, 8);
        simdgroup_barrier(mem_flags::mem_threadgroup);
    }
}

// The first `count` of the pieces.
template <int PIECES, typename T>
void write_own(device T* rows, thread simdgroup_float8x8 (&own)[PIECES], int count, uint stride,
               int first, int length, float factor, threadgroup float* piece, uint lane) {
    for (int i = 0; i < PIECES; i++) {
        if (i >= count) break;
        simdgroup_store(own[i], piece, 8);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        for (uint e = lane; e < 64; e += LANES) {
            int row = first + int(e / 8);
            if (row < length) rows[size_t(row) * stride + 8 * i + e % 8] = T(factor * piece[e]);
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);
    }
}

// scores [8, TILE] = own tile'
template <int PIECES, int TILE>
void multiply_transposed(threadgroup float* scores, thread simdgroup_float8x8 (&own)[PIECES],
                         const threadgroup float* tile) {
    for (int j = 0; j < TILE; j += 8) {
        simdgroup_float8x8 sum = simdgroup_float8x8(0.0f), others;
        for (int i = 0; i < PIECES; i++) {
            simdgroup_load(others, tile + j * (8 * PIECES + 4) + 8 * i, 8 * PIECES + 4, 0, true);
            simdgroup_multiply_accumulate(sum, own[i], others, sum);
        }
        simdgroup_store(sum, scores + j, TILE + 4);
    }
}

// The first `count` pieces of sums += weights [8, TILE] tile, whose rows are `row` floats apart
template <int PIECES, int TILE>
void accumulate(thread simdgroup_float8x8 (&sums)[PIECES], int count,
                const threadgroup float* weights, const threadgroup float* tile, uint row) {
    for (int j = 0; j < TILE; j += 8) {
        simdgroup_float8x8 some, others;
        simdgroup_load(some, weights + j, TILE + 4);
        for (int i = 0; i < PIECES; i++) {
            if (i >= count) break;
            simdgroup_load(others, tile + j * row + 8 * i, row);
            simdgroup_multiply_accumulate(sums[i], some, others, sums[i]);
        }
    }
}

// Row r of the sums times `by` of the lanes 4 r to 4 r + 3: a product with a diagonal matrix. One
// row that is not finite makes NaN of its seven neighbours.
template <int PIECES>
void scale_rows(thread simdgroup_float8x8 (&sums)[PIECES], float by, threadgroup float* matrix,
                uint lane) {
    for (uint e = lane; e < 64; e += LANES) {
        float of_row = simd_shuffle(by, ushort(4 * (e / 8)));
        matrix[e] = e % 9 == 0 ? of_row : 0.0f;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_float8x8 diagonal;
    simdgroup_load(diagonal, matrix, 8);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = 0; i < PIECES; i++) simdgroup_multiply(sums[i], diagonal, sums[i]);
}
"""
BLOCK_OF = """
    constexpr int PIECES = HEAD_DIM / 8, TILE_ROW = HEAD_DIM + 4, WIDTH = TILE + 4;
    constexpr int TILE_SIZE = TILE * TILE_ROW, SCORES = SIMDGROUPS * 8 * WIDTH;
    int length = q_shape[1], block = ROWS * int(threadgroup_position_in_grid.x);
    uint heads = q_shape[2], head = threadgroup_position_in_grid.y, stride = heads * HEAD_DIM;
    uint thread_index = thread_index_in_threadgroup, threads = threads_per_threadgroup.x;
    uint lane = thread_index_in_simdgroup, simdgroup = simdgroup_index_in_threadgroup;
    uint row = lane / 4, part = simdgroup % SIMDGROUPS, side = simdgroup / SIMDGROUPS;
    int first = block + 8 * int(part), own_position = first + int(row);
    size_t start = size_t(threadgroup_position_in_grid.z) * length * stride + head * HEAD_DIM;
    size_t in_head = (size_t(threadgroup_position_in_grid.z) * heads + head) * length;
    threadgroup float tiles[2 * TILE_SIZE];
"""
# The queries are scaled as they are read: s - m of the largest score is then exactly zero, where
# the compiler could join a factor behind the product and the subtraction into one rounding.
FORWARD = f"""{BLOCK_OF}
    threadgroup float all_scores[SCORES], pieces[SIMDGROUPS * 64], diagonals[SIMDGROUPS * 64];
    threadgroup float* scores = all_scores + part * 8 * WIDTH;
    threadgroup float* piece = pieces + part * 64;
    threadgroup float* diagonal = diagonals + part * 64;
    simdgroup_float8x8 own[PIECES], sums[PIECES];
    read_own<PIECES>(own, q + start, stride, first, length, scale, piece, lane);
    for (int i = 0; i < PIECES; i++) sums[i] = simdgroup_float8x8(0.0f);  // its diagonal
    float m = -FLT_MAX, l = 0.0f;
    int end = min(block + ROWS, length);
    for (int key = max(0, block - window); key < end; key += TILE) {{
        read_tiles<HEAD_DIM, TILE>(tiles, k + start, v + start, stride, key, length,
                                   1.0f, thread_index, threads);
        multiply_transposed<PIECES, TILE>(scores, own, tiles);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        float largest = m, sum = 0.0f;
        for (int c = lane % 4; c < TILE; c += 4) {{
            bool sees = seen(own_position, key + c, length, window);
            if (sees) largest = max(largest, scores[row * WIDTH + c]);
        }}
        largest = largest_of_row(largest);
        for (int c = lane % 4; c < TILE; c += 4) {{
            bool sees = seen(own_position, key + c, length, window);
            float e = sees ? precise::exp(scores[row * WIDTH + c] - largest) : 0.0f;
            scores[row * WIDTH + c] = e;
            sum += e;
        }}
        float kept = precise::exp(m - largest);
        l = l * kept + sum_of_row(sum);
        m = largest;
        scale_rows<PIECES>(sums, kept, diagonal, lane);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        accumulate<PIECES, TILE>(sums, PIECES, scores, tiles + TILE_SIZE, TILE_ROW);
    }}
    bool inside = own_position < length;
    scale_rows<PIECES>(sums, inside ? 1.0f / l : 0.0f, diagonal, lane);
    write_own<PIECES>(y + start, sums, PIECES, stride, first, length, 1.0f, piece, lane);
    if (inside && lane % 4 == 0) {{
        stats[2 * (in_head + own_position)] = m;
        stats[2 * (in_head + own_position) + 1] = l;
    }}
"""
PAIRS_OF = f"""{BLOCK_OF}
    threadgroup float all_scores[2 * SCORES], pieces[2 * SIMDGROUPS * 64];
    threadgroup float* s = all_scores + part * 8 * WIDTH;
    threadgroup float* dp = s + SCORES;
    threadgroup float* piece = pieces + simdgroup * 64;
    simdgroup_float8x8 own[PIECES];
"""
QUERIES = f"""{PAIRS_OF}
    constexpr int MOST = (PIECES + 1) / 2;  // of the channels, each side adds up half
    threadgroup float4 halves[2 * ROWS];
    int from = side == 0 ? 0 : MOST, count = side == 0 ? MOST : PIECES - MOST;
    simdgroup_float8x8 sums[MOST];
    read_own<PIECES>(own, (side == 0 ? q : dy) + start, stride, first, length,
                     side == 0 ? float(scale) : 1.0f, piece, lane);
    for (int i = 0; i < MOST; i++) sums[i] = simdgroup_float8x8(0.0f);  // its diagonal
    bool inside = own_position < length;
    float m = inside ? stats[2 * (in_head + own_position)] : 0.0f;
    float l = inside ? stats[2 * (in_head + own_position) + 1] : 1.0f;
    float4 mean = 0.0f;
    int end = min(block + ROWS, length);
    for (int turn = 0; turn < 2; turn++) {{
        for (int key = max(0, block - window); key < end; key += TILE) {{
            read_tiles<HEAD_DIM, TILE>(tiles, k + start, v + start, stride, key, length,
                                       1.0f, thread_index, threads);
            multiply_transposed<PIECES, TILE>(
                side == 0 ? s : dp, own, tiles + side * TILE_SIZE);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            for (int i = lane % 4; i < TILE / 2; i += 4) {{
                int c = i + int(side) * TILE / 2, at = int(row) * WIDTH + c;
                bool sees = seen(own_position, key + c, length, window);
                float p = sees ? precise::exp(s[at] - m) / l : 0.0f;
                if (turn == 0) mean = joined(mean, float4(p, dp[at], 0.0f, p));
                else s[at] = p * ((dp[at] - mean.y) - mean.z);
            }}
            if (turn == 0) continue;
            threadgroup_barrier(mem_flags::mem_threadgroup);
            accumulate<MOST, TILE>(sums, count, s, tiles + 8 * from, TILE_ROW);
        }}
        if (turn == 1) break;
        mean = joined(mean, simd_shuffle_xor(mean, 1));
        mean = joined(mean, simd_shuffle_xor(mean, 2));
        if (lane % 4 == 0) halves[side * ROWS + 8 * part + row] = mean;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        mean = joined(halves[8 * part + row], halves[ROWS + 8 * part + row]);
        if (inside && side == 0 && lane % 4 == 0) {{
            means[2 * (in_head + own_position)] = mean.y;
            means[2 * (in_head + own_position) + 1] = mean.z;
        }}
    }}
    write_own<MOST>(
        dq + start + 8 * from, sums, count, stride, first, length, scale, piece, lane);
"""
KEYS = f"""{PAIRS_OF}
    threadgroup float m[TILE], l[TILE], from[TILE], mean[TILE];
    simdgroup_float8x8 sums[PIECES];
    read_own<PIECES>(
        own, (side == 0 ? k : v) + start, stride, first, length, 1.0f, piece, lane);
    for (int i = 0; i < PIECES; i++) sums[i] = simdgroup_float8x8(0.0f);  // its diagonal
    int end = min(block + ROWS + window, length);
    for (int query = block; query < end; query += TILE) {{
        read_tiles<HEAD_DIM, TILE>(tiles, q + start, dy + start, stride, query, length,
                                   scale, thread_index, threads);
        if (thread_index < TILE) {{
            size_t at = in_head + query + thread_index;
            bool inside = query + int(thread_index) < length;
            m[thread_index] = inside ? stats[2 * at] : 0.0f;
            l[thread_index] = inside ? stats[2 * at + 1] : 1.0f;
            from[thread_index] = inside ? means[2 * at] : 0.0f;
            mean[thread_index] = inside ? means[2 * at + 1] : 0.0f;
        }}
        multiply_transposed<PIECES, TILE>(side == 0 ? s : dp, own, tiles + side * TILE_SIZE);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (int i = lane % 4; i < TILE / 2; i += 4) {{
            int c = i + int(side) * TILE / 2, at = int(row) * WIDTH + c;
            bool sees = seen(query + c, own_position, length, window);
            float p = sees ? precise::exp(s[at] - m[c]) / l[c] : 0.0f;
            s[at] = p;
            dp[at] = p * ((dp[at] - from[c]) - mean[c]);
        }}
        threadgroup_barrier(mem_flags::mem_threadgroup);
        accumulate<PIECES, TILE>(
            sums, PIECES, side == 0 ? s : dp, tiles + (1 - side) * TILE_SIZE, TILE_ROW);
    }}
    write_own<PIECES>(
        (side == 0 ? dv : dk) + start, sums, PIECES, stride, first, length, 1.0f, piece, lane);
"""
INPUTS = ["q", "k", "v", "window", "scale"]
_forward = mx.fast.metal_kernel(
    "sliding_window_attention", INPUTS, ["y", "stats"], FORWARD, header=HEADER
)
_of_queries = mx.fast.metal_kernel(
    "sliding_window_attention_queries_vjp",
    [*INPUTS, "dy", "stats"],
    ["dq", "means"],
    QUERIES,
    header=HEADER,
)
_of_keys = mx.fast.metal_kernel(
    "sliding_window_attention_keys_vjp",
    [*INPUTS, "dy", "stats", "means"],
    ["dk", "dv"],
    KEYS,
    header=HEADER,
)


def sliding_window_attention(q: mx.array, k: mx.array, v: mx.array, window: int) -> mx.array:
    """q, k, v [batch, sequence, heads, head_dim] -> y, where i sees i - window to i."""
    batch, length, heads, head_dim = q.shape
    if head_dim % 8 or not 8 <= head_dim <= LARGEST_HEAD_DIM:
        raise ValueError(
            f"head_dim must be a multiple of 8 up to {LARGEST_HEAD_DIM}, not {head_dim}"
        )
    numbers = [min(window, length), head_dim**-0.5]
    like_q, two_each = (q.shape, q.dtype), ((batch, heads, length, 2), mx.float32)

    @mx.custom_function
    def attention(q: mx.array, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        y, stats = _launch(_forward, 4, [q, k, v, *numbers], [like_q, two_each])
        return y, stats

    @attention.vjp
    def gradients(
        given: tuple[mx.array, ...], incoming: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array, mx.array]:
        inputs = [*given, *numbers, incoming[0], outputs[1]]
        dq, means = _launch(_of_queries, 8, inputs, [like_q, two_each])
        dk, dv = _launch(_of_keys, 8, [*inputs, means], [like_q, like_q])
        return dq, dk, dv

    return attention(q, k, v)[0]


def _launch(kernel, simdgroups: int, inputs: list, outputs: list) -> list[mx.array]:  # type: ignore[no-untyped-def,type-arg]
    """Two tiles of at most 2048 floats each, with what lies beside them, are less than 32 KiB."""
    batch, length, heads, head_dim = inputs[0].shape
    tile = 32 if head_dim <= 64 else 16 if head_dim <= 128 else 8
    threads = simdgroups * LANES
    return kernel(
        inputs=inputs,
        template=[("HEAD_DIM", head_dim), ("TILE", tile)],
        output_shapes=[shape for shape, _ in outputs],
        output_dtypes=[dtype for _, dtype in outputs],
        grid=(-(-length // BLOCK) * threads, heads, batch),
        threadgroup=(threads, 1, 1),
    )
