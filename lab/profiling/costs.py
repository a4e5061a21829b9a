"""What each op of a training step must at least move and compute, from the configuration alone.

Targets state their own cost (`TARGET.cost`) at their training shapes, times the calls that the
trace counted. The other ops are counted here: every input read once and every result written once,
FLOPs with a multiply-add as two, the backward pass of a matrix product as two products, a sigmoid
as one. Recomputation, temporaries and casts count nothing: this is the least, not what today's
kernels do.

Weights and gradients of weights are float32, activations `itemsize` bytes. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kernels.spec import Cost, TargetFolder, discover
from trainer.config import TrainConfig, muon_matrices, training_shape

WEIGHT = 4
"""Bytes of a weight, of its gradient and of each of its moments."""
INDEX = 8
"""Bytes of a token."""
ADAMW_FLOPS = 12
"""Per weight: two moments (3 + 4), root, division, epsilon, step and two bias corrections."""
MUON_FLOPS = 15
"""Per weight, without the orthogonalisation: momentum and its look-ahead (3 + 3), the second
moment and its scaling (5), cautious decay and step (4)."""

ORGANISING = (
    *("data", "host_to_device", "zero_grad", "autograd_engine"),
    # views of weights and of what an op is called with; on a GPU also casts, which an op that took
    # the weights as they are would not need
    *("arguments", "residual_lambdas"),
)
"""What only organises, and could take no time."""


class Work(NamedTuple):
    """A call's cost and how often it is made per optimizer step."""

    cost: Cost
    times: float


def step_work(
    config: TrainConfig, vocab: int, itemsize: int, calls: Mapping[str, int]
) -> dict[str, tuple[Work, ...]]:
    """The work of every op that is understood, by name. `calls` are those counted in the trace.

    An op of `ORGANISING` has none.
    """
    work = {
        name: tuple(Work(cost, times * config.accumulation) for cost, times in found)
        for name, found in _micro_batch(config, vocab, itemsize).items()
    }
    work |= {name: tuple(found) for name, found in _optimizer(config, vocab).items()}
    work |= {name: () for name in ORGANISING}
    for name, folder in discover().items():
        if folder.target.parts and name not in calls:
            continue
        work[name] = _target(folder, config, vocab, itemsize, calls.get(name, 0))
    return work


def _target(
    folder: TargetFolder, config: TrainConfig, vocab: int, itemsize: int, calls: int
) -> tuple[Work, ...]:
    """The calls of a target, spread over its training cases."""
    cases = folder.target.train_cases(training_shape(config, vocab))
    share = calls / sum(case.calls for case in cases)
    return tuple(
        Work(folder.target.cost(case.dims, itemsize), share * case.calls) for case in cases
    )


def _micro_batch(config: TrainConfig, vocab: int, itemsize: int) -> dict[str, Iterable[Work]]:
    """Forward and backward of one micro-batch, but for the targets."""
    tokens, width, depth = config.device_batch_size * config.sequence, config.width, config.depth
    gates = sum(map(config.has_value_embedding, range(depth)))

    def projection(inputs: int, outputs: int) -> Cost:
        return projection_cost(tokens, inputs, outputs, itemsize)

    embedding = embedding_cost(tokens, width, vocab, itemsize)
    return {
        "embedding": [Work(embedding, 1)],
        "value_embedding": [Work(embedding, gates)],
        "qkv_projection": [Work(projection(width, 3 * width), depth)],
        "attention_projection": [Work(projection(width, width), depth)],
        "mlp_up": [Work(projection(width, 4 * width), depth)],
        "mlp_down": [Work(projection(4 * width, width), depth)],
        "head_projection": [Work(projection(width, vocab), 1)],
        "residual_mix": [Work(residual_mix_cost(tokens * width, itemsize), depth)],
        "residual_add": [Work(residual_add_cost(tokens * width, itemsize), 2 * depth)],
        # the losses and their weights, float32; the backward pass starts after it
        "loss_reduction": [Work(Cost(8 * tokens, 2 * tokens), 1)],
    }


def _optimizer(config: TrainConfig, vocab: int) -> dict[str, Iterable[Work]]:
    """What happens once per optimizer step, and what several micro-batches add to it."""
    matrices = sum(count * rows * columns for count, rows, columns in muon_matrices(config))
    lambdas = 2 * config.depth
    others = adamw_weights(config, vocab)
    weights = matrices + others
    tables = others - lambdas
    return {
        # read the weight, its gradient and two moments; write all but the gradient
        "adamw": [Work(Cost(7 * WEIGHT * tables, ADAMW_FLOPS * tables), 1)],
        "adamw_lambdas": [Work(Cost(7 * WEIGHT * lambdas, ADAMW_FLOPS * lambdas), 1)],
        # read gradient, momentum, direction and weight; write momentum, stacked gradient and weight
        "muon_update": [Work(Cost(7 * WEIGHT * matrices, MUON_FLOPS * matrices), 1)],
        # the first micro-batch hands its gradients over; every other is added to them
        "gradient_accumulation": [
            Work(Cost(0, 0, 3 * WEIGHT * weights, weights), config.accumulation - 1)
        ],
    }


def adamw_weights(config: TrainConfig, vocab: int) -> int:
    """Weights that AdamW trains: token and value embeddings, the head, two scalars per layer."""
    tables = 2 + sum(map(config.has_value_embedding, range(config.depth)))
    return tables * vocab * config.width + 2 * config.depth


def projection_cost(tokens: int, inputs: int, outputs: int, itemsize: int) -> Cost:
    """y = x w': x [tokens, inputs], w [outputs, inputs]; backward gives dx and dw."""
    product = 2 * tokens * inputs * outputs
    activations = tokens * (inputs + outputs) * itemsize
    weights = inputs * outputs * WEIGHT
    return Cost(
        bytes_forward=activations + weights,
        flops_forward=product,
        bytes_backward=activations + tokens * inputs * itemsize + 2 * weights,
        flops_backward=2 * product,
    )


def embedding_cost(tokens: int, width: int, vocab: int, itemsize: int) -> Cost:
    """Rows gathered from a table [vocab, width]; backward fills a dense gradient of it."""
    return Cost(
        bytes_forward=tokens * (INDEX + width * itemsize) + min(tokens, vocab) * width * WEIGHT,
        flops_forward=0,
        bytes_backward=tokens * (INDEX + width * itemsize) + vocab * width * WEIGHT,
        flops_backward=tokens * width,
    )


def residual_mix_cost(elements: int, itemsize: int) -> Cost:
    """r x + e x0 with scalars r and e, whose gradients are two sums over all elements."""
    return Cost(3 * elements * itemsize, 3 * elements, 5 * elements * itemsize, 6 * elements)


def residual_add_cost(elements: int, itemsize: int) -> Cost:
    """x + y; the gradient of both is the one that comes in."""
    return Cost(3 * elements * itemsize, elements)
