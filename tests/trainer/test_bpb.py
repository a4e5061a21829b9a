"""Bits per byte is exact, and counts text only."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.bpb import EVAL_TOKENS, BitsPerByte, bits_per_byte, evaluation_tokens
from trainer.errors import DataError, UsageError

TOKEN_BYTES = np.array([1, 2, 3, 0], dtype=np.int32)


def test_the_formula_by_hand() -> None:
    """Nats 1 + 2 over 1 + 3 bytes."""
    value = bits_per_byte(np.array([1.0, 2.0]), np.array([0, 2]), TOKEN_BYTES)
    assert value == pytest.approx(3.0 / (math.log(2) * 4), rel=1e-15)


def test_a_model_that_knows_nothing_needs_eight_bits_per_byte() -> None:
    """An absolute anchor: uniform over 256 single bytes."""
    targets = np.arange(256)
    nats = np.full(256, math.log(256))
    assert bits_per_byte(nats, targets, np.ones(256, np.int32)) == pytest.approx(8.0, rel=1e-12)


def test_specials_count_in_neither_sum() -> None:
    """Document boundaries are no text; a huge loss on one must not show."""
    score = BitsPerByte(TOKEN_BYTES)
    score.add(np.array([1.0, 1e6, np.nan]), np.array([1, 3, 3]))
    assert (score.nats, score.bytes, score.tokens) == (1.0, 2, 3)


def test_padding_counts_in_nothing() -> None:
    """The last validation batch is filled up with targets of -1."""
    score = BitsPerByte(TOKEN_BYTES)
    score.add(np.array([[1.0, 5.0], [7.0, 7.0]]), np.array([[2, -1], [-1, -1]]))
    assert (score.nats, score.bytes, score.tokens) == (1.0, 3, 1)


def test_a_diverged_loss_is_not_hidden() -> None:
    """NaN on text must come out as NaN, not as a good score."""
    assert math.isnan(bits_per_byte(np.array([np.nan]), np.array([0]), TOKEN_BYTES))


def test_the_sum_is_exact_however_it_is_split() -> None:
    """float32 sums over millions of tokens lose the digits that decide a margin of 0.002."""
    generator = np.random.default_rng(0)
    nats = generator.gamma(2.0, 2.0, 200_000).astype(np.float32)
    targets = generator.integers(0, 4, 200_000)
    score = BitsPerByte(TOKEN_BYTES)
    for chunk in np.split(np.arange(200_000), 100):
        score.add(nats[chunk], targets[chunk])
    counted = TOKEN_BYTES[targets] > 0
    exact = math.fsum(nats[counted].astype(float)) / (math.log(2) * TOKEN_BYTES[targets].sum())
    assert score.value == pytest.approx(exact, rel=1e-13)
    naive = float(np.add.accumulate(nats[counted])[-1]) / (math.log(2) * score.bytes)
    assert abs(naive - exact) > abs(score.value - exact) * 100


def test_shapes_must_agree() -> None:
    """Broadcasting would count losses several times over."""
    with pytest.raises(ValueError, match="differ in shape"):
        BitsPerByte(TOKEN_BYTES).add(np.zeros((2, 1)), np.zeros((2, 3), np.int64))


def test_no_text_is_an_error_and_no_zero() -> None:
    """Zero bits per byte would be the best model ever."""
    with pytest.raises(DataError, match="no text"):
        _ = BitsPerByte(TOKEN_BYTES).value


def test_rungs() -> None:
    """The names are what users and records say."""
    assert evaluation_tokens("full") == 40 * 524_288
    assert [evaluation_tokens(rung) for rung in EVAL_TOKENS] == sorted(EVAL_TOKENS.values())
    assert evaluation_tokens(512) == 512
    with pytest.raises(UsageError, match="Did you mean 'cheap'"):
        evaluation_tokens("cheep")
    with pytest.raises(UsageError, match="at least 1"):
        evaluation_tokens(0)
