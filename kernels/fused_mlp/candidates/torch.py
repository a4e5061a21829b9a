"""The MLP as one autograd node that keeps one hidden tensor of the four. For CPUs.

Between its products the incumbent holds the hidden layer before relu, after it and squared, and its
backward makes three more of that size. Here relu is taken in place and only its result r is kept:
r tells where relu was open, r^2 is made anew for the gradient of `down`, and of the activation's
gradient 2 r dy the 2 goes to the narrow dy, and r is multiplied in place. The products are those of
the incumbent, and take most of the time. Narrow dtypes round where the incumbent does.
"""

from typing import Any

import torch


def fused_mlp(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """x [batch, sequence, width], up [hidden, width], down [width, hidden] -> the shape of x."""
    return _Mlp.apply(x, up, down)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        opened = (rows @ up.T).relu_()
        ctx.save_for_backward(rows, up, down, opened)
        return (opened.square() @ down.T).view(*x.shape[:-1], len(down))

    @staticmethod
    def backward(ctx: Any, grad_y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows, up, down, opened = ctx.saved_tensors
        dy = grad_y.reshape(len(rows), len(down))
        grad_down = dy.T @ opened.square()
        grad_hidden = ((2 * dy) @ down).mul_(opened)
        grad_x = (grad_hidden @ up).view(*grad_y.shape[:-1], up.shape[1])
        return grad_x, grad_hidden.T @ rows, grad_down
