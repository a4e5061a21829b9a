"""Bits per byte: the metric that does not depend on the vocabulary, computed exactly.

    score = BitsPerByte(prepared.token_bytes)
    for inputs, targets in validation_batches(...):
        score.add(loss_per_token, targets)
    score.value

value = sum of nats / (ln 2 * sum of bytes) over the targets that stand for bytes of text: specials
stand for none and count in neither sum, and targets of -1 are padding. Sums are float64 and exact
integers. Computes no loss itself.
"""

from __future__ import annotations

import math

import numpy as np

from trainer.errors import DataError, UsageError, unknown

EVAL_TOKENS = {"cheap": 262_144, "reference": 1_572_864, "full": 20_971_520}
"""Tokens of an evaluation by rung; `full` is what karpathy/autoresearch evaluates."""


class BitsPerByte:
    """Accumulates losses. `tokens` counts the targets seen, `bytes` the text they stand for."""

    def __init__(self, token_bytes: np.ndarray) -> None:
        self._token_bytes = token_bytes.astype(np.int64)
        self.nats = 0.0
        self.bytes = 0
        self.tokens = 0

    def add(self, nats: np.ndarray, targets: np.ndarray) -> None:
        """Adds the loss in nats of each target; both of one shape, targets int64, -1 = ignored."""
        if nats.shape != targets.shape:
            raise ValueError(f"losses {nats.shape} and targets {targets.shape} differ in shape")
        sizes = np.where(targets >= 0, self._token_bytes[targets], 0)
        # where, not a product: the loss of an ignored target may be NaN and must not count
        self.nats += float(np.where(sizes > 0, nats, 0.0).sum(dtype=np.float64))
        self.bytes += int(sizes.sum())
        self.tokens += int((targets >= 0).sum())

    @property
    def value(self) -> float:
        """Bits per byte so far. Raises `DataError` before any text was seen."""
        if not self.bytes:
            raise DataError(
                "bits per byte of no text at all", "Evaluate at least one row: raise --eval-tokens."
            )
        return self.nats / (math.log(2) * self.bytes)


def bits_per_byte(nats: np.ndarray, targets: np.ndarray, token_bytes: np.ndarray) -> float:
    """Bits per byte of one set of per-token losses."""
    score = BitsPerByte(token_bytes)
    score.add(nats, targets)
    return score.value


def evaluation_tokens(rung: str | int) -> int:
    """Tokens of a rung by name, or the number itself. Raises `UsageError` for any other."""
    if isinstance(rung, int):
        if rung < 1:
            raise UsageError(f"an evaluation needs at least 1 token, not {rung}")
        return rung
    if rung not in EVAL_TOKENS:
        raise unknown("evaluation rung", rung, EVAL_TOKENS)
    return EVAL_TOKENS[rung]
