"""Head and soft-capped cross-entropy in chunks of tokens, the gradient made on the way. For CPUs.

The incumbent holds the logits and eight tensors of their size, and each of its operations goes
through memory. Here a chunk of logits goes through product, soft cap, softmax and gradient while it
is in the cache, and only that gradient is kept: one tensor, or none without gradients. The
incoming gradient of a token multiplies a row of it, so `backward` scales the rows of the narrow x
instead and is two products. With w = sigmoid(-2 z / c), as in the candidate of
`softcap_cross_entropy`,

    softmax(c tanh(z / c)) = softmax(-2 c w)       d c tanh(z / c) / dz = 4 w (1 - w)

where the gradient of the target alone would lose digits and is computed by itself. Narrow dtypes
are computed in float32 and rounded once.
"""

from typing import Any

import torch

CHUNK_ELEMENTS = 2**20
"""Logits per chunk: 4 MiB in float32. Twice as many were as fast, half as many 2% slower."""

LARGEST_SOFTCAP = 35.0
"""A probability can be as small as exp(-2 softcap) / vocab, which float32 still has to hold."""


def linear_softcap_cross_entropy(
    x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """Loss of each token, [tokens]; x [tokens, width], head [vocab, width], targets (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    if torch.is_grad_enabled() and (x.requires_grad or head.requires_grad):
        return _LinearSoftcapCrossEntropy.apply(x, head, targets, softcap)
    return _sweep(_wide(x), _wide(head), targets, softcap, None)


class _LinearSoftcapCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, softcap: float
    ) -> torch.Tensor:
        rows, weight = _wide(x), _wide(head)
        gradient = rows.new_empty(len(rows), len(weight))
        loss = _sweep(rows, weight, targets, softcap, gradient)
        ctx.save_for_backward(x, head, targets, gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, head, targets, gradient = ctx.saved_tensors
        scale = torch.where(targets >= 0, 4 * grad_loss, 0).unsqueeze(1)
        grad_x = (gradient @ _wide(head)).mul_(scale)
        grad_head = gradient.T @ (_wide(x) * scale)
        return grad_x.to(x.dtype), grad_head.to(head.dtype), None, None


def _sweep(
    rows: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float,
    gradient: torch.Tensor | None,
) -> torch.Tensor:
    """The loss; fills `gradient` [tokens, vocab] with a quarter of d loss / d logits."""
    tokens, vocab = len(rows), len(weight)
    size = max(1, min(tokens, CHUNK_ELEMENTS // vocab))
    gates, scratch = rows.new_empty(size, vocab), rows.new_empty(size, vocab)
    ignored = targets < 0
    columns = targets.masked_fill(ignored, 0).unsqueeze(1)
    likelihood = rows.new_empty(tokens, 1)
    for start in range(0, tokens, size):
        chunk = slice(start, min(start + size, tokens))
        w = gates[: chunk.stop - start]
        p = scratch[: chunk.stop - start] if gradient is None else gradient[chunk]
        torch.mm(rows[chunk], weight.T, out=w).mul_(-2 / softcap)
        at_target = w.gather(1, columns[chunk])
        torch.sigmoid(w, out=w)
        torch.softmax(torch.mul(w, -2 * softcap, out=p), -1, out=p)
        torch.gather(p, 1, columns[chunk], out=likelihood[chunk])
        if gradient is not None:
            torch.ops.aten.sigmoid_backward.grad_input(p, w, grad_input=p)
            slope = torch.sigmoid(at_target) * torch.sigmoid(-at_target)
            p.scatter_(1, columns[chunk], (likelihood[chunk] - 1) * slope)
    return likelihood.log_().neg_().squeeze(1).masked_fill_(ignored, 0)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself in float32 or float64, else a copy in float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
