"""How far apart two runs of one seed ended: their weights and moments, tensor by tensor.

    found = apart(initial, incumbent, candidate)      # folders of checkpoints
    found.share, found.tensor, found.not_finite

Two runs of the same seed on the same batches differ by rounding only, whatever computes their ops.
So a run that did other work than ordered (fewer steps, other data, another optimizer) shows it in
what it saved, and there is no cheaper way to the same weights than to do the work. The share of a
tensor is the distance of the two, relative to how far the first run moved it.

Of the weights the one furthest apart counts: a layer that was not trained must not hide among the
others. The moments tell of the last steps, whose rates are too small to show in the weights; they
are gradients, which may differ in single tensors, so the upper quartile of their shares counts.

Reads safetensors as numpy arrays, so it serves every engine. Knows no bound: a judge has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from trainer.errors import DataError

WEIGHTS, MOMENTS = "model.safetensors", "optimizer.safetensors"
QUARTILE = 0.75
"""In the middle of a run of 100 steps, 0.84 in one moment, far from the others, was rounding."""
FEWEST = 64
"""Elements of a tensor that counts. A handful of scalars goes its own way: after 60 steps of `tour`
that differed by rounding, two lambdas were 0.46 of their way apart, all larger tensors 0.27."""


@dataclass(frozen=True)
class Apart:
    """The share that counts, the tensor it is of, and what is not finite in the second run."""

    share: float
    tensor: str
    not_finite: tuple[str, ...]


def apart(initial: Path, first: Path, second: Path) -> Apart:
    """Raises `DataError` where one is damaged or they do not hold the same tensors."""
    not_finite: list[str] = []
    found = [(0.0, "")]
    for file, quantile in ((WEIGHTS, 1.0), (MOMENTS, QUARTILE)):
        shares = []
        for name, start, one, other in _tensors(file, initial, first, second):
            if not np.isfinite(other).all():
                not_finite.append(name)
            elif one.size >= FEWEST:
                shares.append((_share(start, one, other), name))
        if shares:
            found.append(sorted(shares)[math.ceil(quantile * len(shares)) - 1])
    return Apart(*max(found), tuple(not_finite))


def _share(start: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """0 where both are equal, also where neither moved."""
    distance = float(np.linalg.norm((other - one).ravel()))
    way = float(np.linalg.norm((one - start).ravel()))
    return distance / way if way else (math.inf if distance else 0.0)


def _tensors(file: str, *folders: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name and content of each tensor in the three checkpoints, in float64, one at a time."""
    try:
        with ExitStack() as stack:
            opened = [
                stack.enter_context(safe_open(folder / file, framework="np")) for folder in folders
            ]
            names = [sorted(each.keys()) for each in opened]
            if names[1:] != names[:-1]:
                raise DataError(f"{file} of {folders[-1]} holds other tensors than ordered")
            for name in names[0]:
                a, b, c = (each.get_tensor(name).astype(np.float64) for each in opened)
                if not a.shape == b.shape == c.shape:
                    raise DataError(f"{name} of {folders[-1]} has another shape than ordered")
                yield name, a, b, c
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} of {folders[-1]} is damaged: {error}") from error
