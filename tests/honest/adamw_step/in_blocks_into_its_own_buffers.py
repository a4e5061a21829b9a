"""A block at a time, every operation into results and one scratch buffer made before."""

import torch

BLOCK = 1000


def adamw_step(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    rate: torch.Tensor,
    step: torch.Tensor,
    beta1: float,
    beta2: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count, number = len(weight), step.item()
    size = rate.item() / (1 - beta1**number)
    correction = (1 - beta2**number) ** 0.5
    results = [torch.empty(count) for _ in range(3)]
    scratch = torch.empty(min(BLOCK, count))
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        w, m, v = (result[block] for result in results)
        g, s = gradient[block], scratch[: block.stop - start]
        torch.mul(first[block], beta1, out=m).add_(g, alpha=1 - beta1)
        torch.mul(second[block], beta2, out=v).add_(torch.mul(g, g, out=s), alpha=1 - beta2)
        torch.sqrt(v, out=s).div_(correction).add_(eps)
        torch.sub(weight[block], torch.div(m, s, out=s).mul_(size), out=w)
    return results[0], results[1], results[2]
