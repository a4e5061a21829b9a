"""Soft-capped cross-entropy in row chunks, with the gradient made in the forward pass. For CPUs.

Forward and backward together write one matrix of the size of the logits, where the incumbent
allocates nine. With w = sigmoid(-2 z / c), the capped logits are c tanh(z / c) = c - 2 c w, so

    softmax(c tanh(z / c)) = softmax(-2 c w)       (softmax ignores the shift)
    d c tanh(z / c) / dz   = 4 w (1 - w)           (autograd's own sigmoid backward, times 4)

and torch's vectorised sigmoid costs a fraction of its tanh. The minus sign makes w small, and so
precise, where the probabilities are large; where w is near 1 the gradient loses digits, which
matters for the target alone, so that its element is computed by itself.

Each chunk of rows goes through all operations while it is in the cache. In float32 the finished
gradient waits, unscaled, for `backward`, which multiplies it by the incoming gradient in place and
gives it away. A narrower dtype would be rounded twice that way, so there `backward` computes it
anew.

Never holds anything from one call to the next. A second backward over a retained graph is correct:
it recomputes.
"""

from typing import Any

import torch

CHUNK_ELEMENTS = 2**19
"""Logits per chunk: 2 MiB in float32. Less, and starting the operations shows; more, and the two
matrices that a chunk lives in fall out of a CPU's second-level caches."""

LARGEST_SOFTCAP = 35.0
"""A probability can be as small as exp(-2 softcap) / vocab, which float32 still has to hold."""


def softcap_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float
) -> torch.Tensor:
    """Loss of each token, [tokens], from logits [tokens, vocab] and targets [tokens] (-1: none)."""
    if not 0 < softcap <= LARGEST_SOFTCAP:
        raise ValueError(f"softcap must lie between 0 and {LARGEST_SOFTCAP}, not {softcap}")
    if torch.is_grad_enabled() and logits.requires_grad:
        return _SoftcapCrossEntropy.apply(logits, targets, softcap)
    return _sweep(logits, targets, softcap)


class _SoftcapCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, softcap: float
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.softcap = softcap
        ctx.gradient = None
        if logits.dtype == _working_dtype(logits):
            ctx.gradient = _new_like(logits)
        return _sweep(logits, targets, softcap, gradient=ctx.gradient)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, targets = ctx.saved_tensors
        weights = torch.where(targets >= 0, 4 * grad_output, 0).unsqueeze(1)
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is not None:
            gradient.mul_(weights)
        else:
            gradient = _new_like(logits)
            _sweep(logits, targets, ctx.softcap, gradient, weights)
        return gradient, None, None


def _new_like(logits: torch.Tensor) -> torch.Tensor:
    """A dense tensor of the same shape, whatever the strides of the logits."""
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _working_dtype(logits: torch.Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _sweep(
    logits: torch.Tensor,
    targets: torch.Tensor,
    softcap: float,
    gradient: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss; fills `gradient` with a quarter of d loss / d logits, times `weights` [tokens, 1].

    The weights carry the four, and the zero of an ignored target.
    """
    tokens, vocab = logits.shape
    dtype = _working_dtype(logits)
    rows = max(1, min(tokens, CHUNK_ELEMENTS // vocab))
    gates = torch.empty(rows, vocab, dtype=dtype, device=logits.device)
    in_place = gradient is not None and gradient.dtype == dtype
    scratch = None if in_place else torch.empty_like(gates)
    ignored = targets < 0
    columns = targets.masked_fill(ignored, 0).unsqueeze(1)
    at_target = logits.gather(1, columns).to(dtype).mul_(2 / softcap)
    slope = torch.sigmoid(at_target) * torch.sigmoid(-at_target)
    likelihood = torch.empty_like(slope)
    for start in range(0, tokens, rows):
        chunk = slice(start, min(start + rows, tokens))
        w = gates[: chunk.stop - start]
        p = gradient[chunk] if scratch is None else scratch[: chunk.stop - start]
        torch.sigmoid(_times(logits[chunk], -2 / softcap, out=w), out=w)
        torch.softmax(torch.mul(w, -2 * softcap, out=p), -1, out=p)
        torch.gather(p, 1, columns[chunk], out=likelihood[chunk])
        if gradient is None:
            continue
        torch.ops.aten.sigmoid_backward.grad_input(p, w, grad_input=p)
        p.scatter_(1, columns[chunk], (likelihood[chunk] - 1) * slope[chunk])
        if weights is not None:
            p.mul_(weights[chunk])
        if scratch is not None:
            gradient[chunk] = p
    return likelihood.log_().neg_().squeeze(1).masked_fill_(ignored, 0)


def _times(chunk: torch.Tensor, factor: float, out: torch.Tensor) -> torch.Tensor:
    """`chunk * factor` in the dtype of `out`: a narrow chunk is widened before it is multiplied."""
    if chunk.dtype == out.dtype:
        return torch.mul(chunk, factor, out=out)
    return out.copy_(chunk).mul_(factor)
