"""The configuration: what follows from it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer.config import (
    PRESETS,
    TrainConfig,
    muon_matrices,
    override,
    preset,
    training_shape,
)
from trainer.errors import UsageError
from trainer.flops import flops_per_token, utilisation, visible_positions

VOCAB = 8192


def test_the_upstream_preset_has_upstreams_sizes() -> None:
    """The numbers of karpathy/autoresearch at its defaults."""
    upstream = preset("upstream")
    assert (upstream.width, upstream.heads, upstream.accumulation) == (512, 4, 2)
    assert upstream.windows == (1024, 1024, 1024, 2048) * 2
    layers = range(upstream.depth)
    assert [i for i in layers if upstream.has_value_embedding(i)] == [1, 3, 5, 7]
    tables = VOCAB * upstream.width * (2 + 4)
    matrices = sum(count * rows * columns for count, rows, columns in muon_matrices(upstream))
    assert (tables + matrices + 2 * upstream.depth) / 1e6 == pytest.approx(50.33, abs=0.005)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_built(name: str) -> None:
    """Its batch divides, its heads fit, and the ops get shapes that belong together."""
    config = preset(name)
    shape = training_shape(config, VOCAB)
    assert shape.heads * shape.head_dim == shape.width == config.width
    assert shape.tokens * config.accumulation == config.total_batch_size
    assert config.windows[-1] == config.sequence
    assert config.has_value_embedding(config.depth - 1)


def test_flops_are_those_of_upstreams_formula_but_for_the_windows() -> None:
    """239.1M a token with whole windows; the causal pairs alone need 40.9M instead of 62.9M."""
    upstream = preset("upstream")
    assert flops_per_token(upstream, VOCAB) / 1e6 == pytest.approx(151.0 + 25.2 + 40.9, abs=0.2)


@pytest.mark.parametrize(("sequence", "window"), [(1, 1), (7, 3), (8, 8), (8, 100), (16, 1)])
def test_visible_positions_counts_the_pairs(sequence: int, window: int) -> None:
    """Against counting them one by one."""
    pairs = sum(0 <= i - j <= window for i in range(sequence) for j in range(sequence))
    assert visible_positions(sequence, window) == pytest.approx(pairs / sequence)


def test_utilisation_of_a_run_at_the_peak_is_one_hundred_percent() -> None:
    """And of a run that did nothing, zero instead of a division by zero."""
    assert utilisation(tokens=10, seconds=2.0, per_token=1e9, peak=5e9) == pytest.approx(100)
    assert utilisation(tokens=0, seconds=0.0, per_token=1e9, peak=5e9) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, "depth must be at least 1"),
        ({"head_dim": 33}, "must be even"),
        ({"window_pattern": "SXL"}, "made of S and L"),
        ({"window_pattern": ""}, "made of S and L"),
        ({"total_batch_size": 1000}, "no multiple of"),
        ({"warmup_ratio": 0.7, "warmdown_ratio": 0.7}, "between 0 and 1"),
        ({"dephts": 3}, "Did you mean 'depth'"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, object], message: str) -> None:
    """At once and by the field's name."""
    with pytest.raises(UsageError, match=message):
        override(preset("tour"), changes)


def test_the_nearest_total_batch_size_works() -> None:
    """The hint names a value that can be pasted."""
    with pytest.raises(UsageError) as caught:
        override(preset("tour"), {"total_batch_size": 2500})
    nearest = int(caught.value.hint.split()[-1].rstrip("."))
    assert override(preset("tour"), {"total_batch_size": nearest}).accumulation == 2


def test_override_changes_what_is_given_and_nothing_else() -> None:
    """None is a flag that was not given."""
    config = override(preset("tour"), {"depth": 4, "seed": None})
    assert config == replace(preset("tour"), depth=4)


def test_an_unknown_preset_is_told_with_the_nearest() -> None:
    """And with the list."""
    with pytest.raises(UsageError, match="Did you mean 'm5-tiny'") as caught:
        preset("m5-tny")
    assert "upstream" in caught.value.hint


def test_widths_are_whole_heads() -> None:
    """Depth x aspect ratio is rounded up, as upstream."""
    config = TrainConfig(depth=3, aspect_ratio=50, head_dim=64)
    assert (config.width, config.heads) == (192, 3)
