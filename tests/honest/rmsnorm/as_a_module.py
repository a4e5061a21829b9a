"""A module that is made once and called, with a parameterless norm inside."""

import torch


class Norm(torch.nn.Module):
    def forward(self, x: torch.Tensor, eps: float) -> torch.Tensor:
        return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=eps)


NORM = Norm()


def rmsnorm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return NORM(x, eps)
