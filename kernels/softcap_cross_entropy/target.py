"""The contract of `softcap_cross_entropy`: from the logits to the loss of each token."""

from types import MappingProxyType

import numpy as np

from kernels.spec import Case, Cost, Dims, Input, Output, Range, Target, TrainingShape

LOGIT_SIZE = 4.0
"""Standard deviation of the logits: far enough into the soft cap of 15 for its bend to show."""
IGNORED = -1
TARGET_BYTES, LOSS_BYTES = 8, 4


def logits(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Normal logits of a model that has learnt something."""
    return LOGIT_SIZE * generator.standard_normal(shape)


def classes(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform classes, `ignored_percent` of them ignored; the first counts, so one always does."""
    drawn = generator.integers(dims["vocab"], size=shape)
    ignored = generator.random(shape) < dims["ignored_percent"] / 100
    ignored[0] = False
    return np.where(ignored, IGNORED, drawn)


def _case(name: str, tokens: int, vocab: int, ignored_percent: int = 5, **how: object) -> Case:
    dims = {"tokens": tokens, "vocab": vocab, "ignored_percent": ignored_percent}
    return Case(name, dims, **how)  # type: ignore[arg-type]


def train_cases(shape: TrainingShape) -> tuple[Case, ...]:
    """The logits of one micro-batch."""
    return (_case("train", shape.tokens, shape.vocab, purpose="train"),)


def cost(dims: Dims, itemsize: int) -> Cost:
    """With n = tokens x vocab logits; classes, losses and their gradients are counted as well.

    Forward reads the logits: n. Per logit it divides, takes tanh, multiplies, takes exp and adds:
    5 n FLOPs, a transcendental counted as one, so that this is a floor.
    Backward reads n (logits, or what was kept of them) and writes the gradient: 2 n. It is
    weight (p - [target]) (1 - tanh^2): exp and its argument, the square, the difference and two
    products: 6 n FLOPs.
    """
    tokens, n = dims["tokens"], dims["tokens"] * dims["vocab"]
    return Cost(
        bytes_forward=n * itemsize + tokens * (TARGET_BYTES + LOSS_BYTES),
        flops_forward=5 * n,
        bytes_backward=2 * n * itemsize + tokens * (TARGET_BYTES + LOSS_BYTES),
        flops_backward=6 * n,
    )


# No case ignores every target: zero would be the right answer.
TARGET = Target(
    summary="loss = -log softmax(softcap tanh(logits / softcap))[target] of each token, in float32",
    inputs=(
        # Where all of a row is far beyond the cap its gradient is 1 - tanh^2 = 1e-20, which float64
        # cannot tell from 0: there the oracle is no better than a candidate. The case `saturated`
        # has logits that far, beside others that are not.
        Input("logits", ("tokens", "vocab"), logits, without=("large",)),
        Input("targets", ("tokens",), classes, differentiable=False, kind="index"),
    ),
    outputs=(Output("loss", ("tokens",), dtype="float32"),),
    scalars=MappingProxyType({"softcap": 15.0}),
    train_cases=train_cases,
    odd_cases=(
        _case("single_token", 1, 513),
        _case("two_classes", 127, 2),
        _case("odd_sizes", 127, 513),
        _case("mostly_ignored", 65, 129, ignored_percent=90),
        _case("strided", 65, 160, layout="strided"),
        _case("saturated", 33, 257, scale=1e3),
        _case("fresh_model", 33, 257, scale=1e-3),
        _case("tiny_gradients", 33, 257, gradient_scale=1e-8),
    ),
    ranges=MappingProxyType(
        {
            "tokens": Range(1, 2**20),
            "vocab": Range(2, 2**18),
            "ignored_percent": Range(0, 90),
        }
    ),
    cost=cost,
    independent="tokens",
)
