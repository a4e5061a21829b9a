"""Polar Express with one tiled Metal kernel for its three products. For Apple GPUs.

A step is A = X X^T on the shorter side, P = b A + c A^2 and X <- a X + P X. A threadgroup of four
simdgroups makes a tile of 64 x 64 of a product, each simdgroup 32 x 32 of it as 16 matrices of 8 x
8 in registers: eight loads from threadgroup memory then serve sixteen products. A and P are
symmetric, so that only the tiles on and below the diagonal are computed and the others written as
their mirror image, which saves half of these products. What is added to a product is added where
it is written. Between the steps everything stays in float32, which these matrices multiply as fast
as half. Tall matrices are turned once. The norm is MLX's own sum; the products take the time.
"""

import mlx.core as mx

# Amsel, Persson, Musco, Gower: "The Polar Express" (2025), as used by karpathy/autoresearch.
COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
TILE = 64
THREADS = 128

HEADER = """
constant constexpr uint TILE = 64, DEPTH = 16, THREADS = 128, PART = 32, PIECES = PART / 8;
// Four floats beyond each row, or the rows of a matrix of 8 x 8 would share banks of the memory.
constant constexpr uint LEFT_ROW = DEPTH + 4, RIGHT_ROW = TILE + 4;

// Sixteen columns of the left rows and the matching rows of the right; zeros beyond the ends.
template <typename P>
void read_left(threadgroup float* tile, P left, uint row, uint depth, uint rows, uint depths,
               uint thread_index) {
    for (uint e = thread_index; e < TILE * DEPTH; e += THREADS) {
        uint i = e / DEPTH, k = e % DEPTH;
        bool inside = row + i < rows && depth + k < depths;
        tile[i * LEFT_ROW + k] = inside ? left[(row + i) * depths + depth + k] : 0.0f;
    }
}

// The neighbouring threads read neighbours in memory, whichever way round the matrix lies.
template <bool TRANSPOSED, typename P>
void read_right(threadgroup float* tile, P right, uint column, uint depth, uint columns,
                uint depths, uint thread_index) {
    for (uint e = thread_index; e < TILE * DEPTH; e += THREADS) {
        uint j = TRANSPOSED ? e / DEPTH : e % TILE, k = TRANSPOSED ? e % DEPTH : e / TILE;
        uint c = column + j, d = depth + k;
        bool inside = c < columns && d < depths;
        tile[k * RIGHT_ROW + j] =
            inside ? right[TRANSPOSED ? c * depths + d : d * columns + c] : 0.0f;
    }
}
"""
# out = alpha left right + beta addend, or alpha left right^T where TRANSPOSED
PRODUCT = """
    threadgroup float left_tile[TILE * LEFT_ROW], right_tile[DEPTH * RIGHT_ROW], pieces[4 * 64];
    uint row = TILE * threadgroup_position_in_grid.y;
    uint column = TILE * threadgroup_position_in_grid.x;
    if (SYMMETRIC && column > row) return;  // the whole threadgroup: no barrier is missed

    uint rows = left_shape[1], depths = left_shape[2];
    uint columns = TRANSPOSED ? right_shape[1] : right_shape[2];
    size_t matrix = threadgroup_position_in_grid.z;
    auto left_matrix = left + matrix * rows * depths;
    auto right_matrix = right + matrix * depths * columns;
    uint part_row = PART * (simdgroup_index_in_threadgroup / 2);
    uint part_column = PART * (simdgroup_index_in_threadgroup % 2);

    simdgroup_float8x8 sums[PIECES][PIECES];
    for (uint i = 0; i < PIECES; i++) {
        for (uint j = 0; j < PIECES; j++) sums[i][j] = simdgroup_float8x8(0.0f);  // its diagonal
    }
    for (uint depth = 0; depth < depths; depth += DEPTH) {
        uint thread_index = thread_index_in_threadgroup;
        threadgroup_barrier(mem_flags::mem_threadgroup);  // all have used the last tiles
        read_left(left_tile, left_matrix, row, depth, rows, depths, thread_index);
        read_right<TRANSPOSED>(
            right_tile, right_matrix, column, depth, columns, depths, thread_index);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint k = 0; k < DEPTH; k += 8) {
            simdgroup_float8x8 a[PIECES], b[PIECES];
            for (uint i = 0; i < PIECES; i++) {
                simdgroup_load(a[i], left_tile + (part_row + 8 * i) * LEFT_ROW + k, LEFT_ROW);
                simdgroup_load(b[i], right_tile + k * RIGHT_ROW + part_column + 8 * i, RIGHT_ROW);
            }
            for (uint i = 0; i < PIECES; i++) {
                for (uint j = 0; j < PIECES; j++) {
                    simdgroup_multiply_accumulate(sums[i][j], a[i], b[j], sums[i][j]);
                }
            }
        }
    }

    // By way of threadgroup memory, since which lane holds which element is not documented.
    threadgroup float* piece = pieces + 64 * simdgroup_index_in_threadgroup;
    auto out_matrix = out + matrix * rows * columns;
    auto addend_matrix = addend + matrix * rows * columns;
    for (uint i = 0; i < PIECES; i++) {
        for (uint j = 0; j < PIECES; j++) {
            simdgroup_store(sums[i][j], piece, 8);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            for (uint e = thread_index_in_simdgroup; e < 64; e += 32) {
                uint r = row + part_row + 8 * i + e / 8, c = column + part_column + 8 * j + e % 8;
                if (r >= rows || c >= columns) continue;
                float value = alpha * piece[e];
                if (!TRANSPOSED) value += beta * addend_matrix[r * columns + c];
                out_matrix[r * columns + c] = value;
                if (SYMMETRIC && column < row) out_matrix[c * columns + r] = value;
            }
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }
    }
"""
_product = mx.fast.metal_kernel(
    "muon_product",
    ["left", "right", "addend", "alpha", "beta"],
    ["out"],
    PRODUCT,
    header=HEADER,
)


def muon_orthogonalize(gradient: mx.array, steps: float) -> mx.array:
    """gradient [count, rows, columns] -> the same shape, each matrix near its polar factor."""
    wide = gradient.astype(mx.float32)
    norm = mx.sqrt(mx.square(wide).sum((-2, -1), keepdims=True))
    x = wide / (norm * 1.02 + 1e-6)
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = mx.contiguous(x.swapaxes(-1, -2))
    coefficients = COEFFICIENTS[: int(steps)]
    for a, b, c in coefficients:
        gram = _launch(x, x, x, 1.0, 0.0, transposed=True, symmetric=True)
        factor = _launch(gram, gram, gram, c, b, symmetric=True)
        x = _launch(factor, x, x, 1.0, a)
    x = x.astype(gradient.dtype)
    return x.swapaxes(-1, -2) if is_tall else x


def _launch(
    left: mx.array,
    right: mx.array,
    addend: mx.array,
    alpha: float,
    beta: float,
    transposed: bool = False,
    symmetric: bool = False,
) -> mx.array:
    """alpha left right + beta addend of every matrix, or alpha left right^T."""
    count, rows, _ = left.shape
    columns = right.shape[1] if transposed else right.shape[2]
    return _product(
        inputs=[left, right, addend, alpha, beta],
        template=[("TRANSPOSED", transposed), ("SYMMETRIC", symmetric)],
        output_shapes=[(count, rows, columns)],
        output_dtypes=[mx.float32],
        grid=(-(-columns // TILE) * THREADS, -(-rows // TILE), count),
        threadgroup=(THREADS, 1, 1),
    )[0]
