"""A Metal kernel with a thread for each row, and one for its gradient.

Language: metal
"""

import mlx.core as mx

SCALE = """
    uint row = thread_position_in_grid.x, width = x_shape[2];
    float sum = 0.0f;
    for (uint i = 0; i < width; i++) sum += float(x[row * width + i]) * float(x[row * width + i]);
    float r = precise::rsqrt(sum / width + eps);
"""
FORWARD = f"""{SCALE}
    for (uint i = 0; i < width; i++) y[row * width + i] = T(float(x[row * width + i]) * r);
"""
BACKWARD = f"""{SCALE}
    float along = 0.0f;
    for (uint i = 0; i < width; i++)
        along += float(dy[row * width + i]) * float(x[row * width + i]);
    along *= r * r / width;
    for (uint i = row * width; i < (row + 1) * width; i++)
        dx[i] = T(r * (float(dy[i]) - along * float(x[i])));
"""
_forward = mx.fast.metal_kernel("by_rows", ["x", "eps"], ["y"], FORWARD)
_backward = mx.fast.metal_kernel("by_rows_vjp", ["x", "dy", "eps"], ["dx"], BACKWARD)


def rmsnorm(x: mx.array, eps: float) -> mx.array:
    launch = {
        "template": [("T", x.dtype)],
        "grid": (x.shape[0] * x.shape[1], 1, 1),
        "threadgroup": (64, 1, 1),
        "output_shapes": [x.shape],
        "output_dtypes": [x.dtype],
    }

    @mx.custom_function
    def normalised(x: mx.array) -> mx.array:
        return _forward(inputs=[x, eps], **launch)[0]

    @normalised.vjp
    def gradient(x: mx.array, dy: mx.array, y: mx.array) -> mx.array:
        return _backward(inputs=[x, dy, eps], **launch)[0]

    return normalised(x)
