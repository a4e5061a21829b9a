"""The MLP as a tiled Metal kernel each for its first product forward and backward. For Apple GPUs.

A threadgroup of four simdgroups makes 64 x 64 of a product in registers and does what comes after
it before anything is written. Forward that is relu, and both its result r and its square are
written; r is what is kept. Backward it is the gradient of the hidden layer, 2 r (dy down), of the
product dy down, which therefore is never in memory, and r^2 is made anew beside it. The other
products, one forward and three backward, have nothing between them and memory: they are MLX's own.
"""

import mlx.core as mx

TILE = 64
THREADS = 128

HEADER = """
constant constexpr uint TILE = 64, DEPTH = 16, THREADS = 128, PART = 32, PIECES = PART / 8;
// Four floats beyond each row, or the rows of a matrix of 8 x 8 would share banks of the memory.
constant constexpr uint LONG = TILE + 4, SHORT = DEPTH + 4;

// HEIGHT rows and WIDTH columns of a matrix in float32; zeros beyond the ends.
template <uint HEIGHT, uint WIDTH, typename P>
void read_tile(threadgroup float* tile, P matrix, uint row, uint column, uint rows, uint columns,
               uint thread_index) {
    for (uint e = thread_index; e < HEIGHT * WIDTH; e += THREADS) {
        uint i = e / WIDTH, j = e % WIDTH;
        bool inside = row + i < rows && column + j < columns;
        tile[i * (WIDTH + 4) + j] =
            inside ? float(matrix[size_t(row + i) * columns + column + j]) : 0.0f;
    }
}

// 32 x 32 of left right more, or of left right^T where TRANSPOSED.
template <bool TRANSPOSED>
void multiply(thread simdgroup_float8x8 (&sums)[PIECES][PIECES], const threadgroup float* left,
              const threadgroup float* right) {
    for (uint k = 0; k < DEPTH; k += 8) {
        simdgroup_float8x8 a[PIECES], b[PIECES];
        for (uint i = 0; i < PIECES; i++) {
            simdgroup_load(a[i], left + 8 * i * SHORT + k, SHORT);
            if (TRANSPOSED) {
                simdgroup_load(b[i], right + 8 * i * SHORT + k, SHORT, 0, true);
            } else {
                simdgroup_load(b[i], right + k * LONG + 8 * i, LONG);
            }
        }
        for (uint i = 0; i < PIECES; i++) {
            for (uint j = 0; j < PIECES; j++) {
                simdgroup_multiply_accumulate(sums[i][j], a[i], b[j], sums[i][j]);
            }
        }
    }
}
"""
TILE_OF = """
    threadgroup float left_tile[TILE * SHORT], right_tile[TILE * SHORT], pieces[4 * 64];
    uint row = TILE * threadgroup_position_in_grid.y;
    uint column = TILE * threadgroup_position_in_grid.x;
    uint thread_index = thread_index_in_threadgroup;
    uint part_row = PART * (simdgroup_index_in_threadgroup / 2);
    uint part_column = PART * (simdgroup_index_in_threadgroup % 2);
    simdgroup_float8x8 sums[PIECES][PIECES];
    for (uint i = 0; i < PIECES; i++) {
        for (uint j = 0; j < PIECES; j++) sums[i][j] = simdgroup_float8x8(0.0f);  // its diagonal
    }
"""
# By way of threadgroup memory, since which lane holds which element is not documented.
EACH_VALUE = """
    threadgroup float* piece = pieces + 64 * simdgroup_index_in_threadgroup;
    for (uint i = 0; i < PIECES; i++) {
        for (uint j = 0; j < PIECES; j++) {
            simdgroup_store(sums[i][j], piece, 8);
            simdgroup_barrier(mem_flags::mem_threadgroup);
            for (uint e = thread_index_in_simdgroup; e < 64; e += 32) {
                uint token = row + part_row + 8 * i + e / 8;
                uint unit = column + part_column + 8 * j + e % 8;
                if (token >= tokens || unit >= hidden) continue;
                size_t at = size_t(token) * hidden + unit;
                float value = piece[e];
                WRITE
            }
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }
    }
"""
FORWARD = (
    """
    uint tokens = x_shape[0] * x_shape[1], width = x_shape[2], hidden = up_shape[0];"""
    + TILE_OF
    + """
    for (uint depth = 0; depth < width; depth += DEPTH) {
        threadgroup_barrier(mem_flags::mem_threadgroup);  // all have used the last tiles
        read_tile<TILE, DEPTH>(left_tile, x, row, depth, tokens, width, thread_index);
        read_tile<TILE, DEPTH>(right_tile, up, column, depth, hidden, width, thread_index);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        multiply<true>(sums, left_tile + part_row * SHORT, right_tile + part_column * SHORT);
    }
"""
    + EACH_VALUE.replace(
        "WRITE",
        """float positive = value < 0.0f ? 0.0f : value;  // not max, which is 0 of NaN
                opened[at] = T(positive);
                squared[at] = T(positive * positive);""",
    )
)
BACKWARD = (
    """
    uint tokens = dy_shape[0] * dy_shape[1], width = dy_shape[2], hidden = down_shape[1];"""
    + TILE_OF
    + """
    for (uint depth = 0; depth < width; depth += DEPTH) {
        threadgroup_barrier(mem_flags::mem_threadgroup);  // all have used the last tiles
        read_tile<TILE, DEPTH>(left_tile, dy, row, depth, tokens, width, thread_index);
        read_tile<DEPTH, TILE>(right_tile, down, depth, column, width, hidden, thread_index);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        multiply<false>(sums, left_tile + part_row * SHORT, right_tile + part_column);
    }
"""
    + EACH_VALUE.replace(
        "WRITE",
        """float kept = opened[at];
                d_hidden[at] = T(2.0f * kept * value);
                squared[at] = T(kept * kept);""",
    )
)
_forward = mx.fast.metal_kernel(
    "fused_mlp", ["x", "up"], ["opened", "squared"], FORWARD, header=HEADER
)
_backward = mx.fast.metal_kernel(
    "fused_mlp_vjp", ["dy", "down", "opened"], ["d_hidden", "squared"], BACKWARD, header=HEADER
)


def fused_mlp(x: mx.array, up: mx.array, down: mx.array) -> mx.array:
    """x [batch, sequence, width], up [hidden, width], down [width, hidden] -> the shape of x."""
    return _mlp(x, up, down)[0]


@mx.custom_function
def _mlp(x: mx.array, up: mx.array, down: mx.array) -> tuple[mx.array, mx.array]:
    opened, squared = _launch(_forward, [x, up], (*x.shape[:2], len(up)))
    return squared @ down.T, opened


@_mlp.vjp
def _gradient(
    given: tuple[mx.array, ...], incoming: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
) -> tuple[mx.array, ...]:
    x, up, down = given
    dy, opened = incoming[0], outputs[1]
    d_hidden, squared = _launch(_backward, [dy, down, opened], opened.shape)
    of_up = d_hidden.flatten(0, 1).T @ x.flatten(0, 1)
    return d_hidden @ up, of_up, dy.flatten(0, 1).T @ squared.flatten(0, 1)


def _launch(kernel, inputs: list[mx.array], shape: tuple[int, ...]) -> list[mx.array]:  # type: ignore[no-untyped-def]
    """Two arrays of the hidden layer's shape."""
    tokens, hidden = shape[0] * shape[1], shape[2]
    dtype = inputs[0].dtype
    return kernel(
        inputs=inputs,
        template=[("T", dtype)],
        output_shapes=[shape, shape],
        output_dtypes=[dtype, dtype],
        grid=(-(-hidden // TILE) * THREADS, -(-tokens // TILE), 1),
        threadgroup=(THREADS, 1, 1),
    )
