"""AdamW's step of one table as one Metal kernel. For Apple GPUs.

Bound by memory: it reads four arrays and writes three, each element once. A thread takes four
neighbours, which the compiler can join into one load of each array. The bias corrections are made
anew by every thread: two powers are cheaper than another kernel before this one.
"""

import mlx.core as mx

THREADS = 256

HEADER = """
template <typename P>
float4 read_four(P from, size_t first, size_t size) {
    if (first + 4 <= size) {
        return float4(from[first], from[first + 1], from[first + 2], from[first + 3]);
    }
    float4 values = 0.0f;
    for (uint i = 0; i < 4 && first + i < size; i++) values[i] = from[first + i];
    return values;
}

inline void write_four(device float* to, size_t first, size_t size, float4 values) {
    if (first + 4 <= size) {
        for (uint i = 0; i < 4; i++) to[first + i] = values[i];
    } else {
        for (uint i = 0; i < 4 && first + i < size; i++) to[first + i] = values[i];
    }
}
"""
STEP = """
    size_t first_index = size_t(4) * thread_position_in_grid.x, size = weight_shape[0];
    float4 slope = read_four(gradient, first_index, size);
    float4 mean = beta1 * read_four(first, first_index, size) + rest1 * slope;
    float4 square = beta2 * read_four(second, first_index, size) + rest2 * slope * slope;
    float unbiased1 = 1.0f - precise::pow(beta1, step[0]);
    float unbiased2 = 1.0f - precise::pow(beta2, step[0]);
    float4 root = precise::sqrt(square / unbiased2);
    float4 change = rate[0] * (mean / unbiased1) / (root + eps);
    write_four(new_weight, first_index, size, read_four(weight, first_index, size) - change);
    write_four(new_first, first_index, size, mean);
    write_four(new_second, first_index, size, square);
"""
ARRAYS = ["weight", "gradient", "first", "second", "rate", "step"]
_step = mx.fast.metal_kernel(
    "adamw_step",
    [*ARRAYS, "beta1", "rest1", "beta2", "rest2", "eps"],
    ["new_weight", "new_first", "new_second"],
    STEP,
    header=HEADER,
)


def adamw_step(
    weight: mx.array,
    gradient: mx.array,
    first: mx.array,
    second: mx.array,
    rate: mx.array,
    step: mx.array,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[mx.array, mx.array, mx.array]:
    """All [weights] but rate and step [1] -> the weights and both moments after the step."""
    arrays = [weight, gradient, first, second, rate, step]
    new_weight, new_first, new_second = _step(
        # 1 - beta is taken here, in double: of float32's 0.95 it would be off by 13 spacings.
        inputs=[*arrays, beta1, 1 - beta1, beta2, 1 - beta2, eps],
        output_shapes=[weight.shape] * 3,
        output_dtypes=[mx.float32] * 3,
        grid=(-(-weight.size // 4), 1, 1),
        threadgroup=(THREADS, 1, 1),
    )
    return new_weight, new_first, new_second
