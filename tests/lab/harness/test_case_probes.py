"""Probes: what anyone can answer is refused, and what proves nothing is told."""

from __future__ import annotations

import pytest
import torch

from lab.harness.inputs import Content
from lab.harness.probes import PROBES, Probes
from lab.harness.tolerances import bounds


def left(right: torch.Tensor, x: torch.Tensor, dtype: str = "float32") -> set[str]:
    """What bounds around `right` do not refuse, where `x` is the input."""
    probes = Probes.of(dtype)
    within = bounds(right.clone(), right.to(x.dtype), dtype)
    probes.strike(Content((x,), (), ()), {"y": within})
    return probes.unrefuted


def test_an_ordinary_tensor_refuses_every_probe() -> None:
    """Else no case would ever count."""
    x = torch.randn(8, 64)
    assert left(x.double().square(), x) == set()


@pytest.mark.parametrize(
    ("right", "probe"),
    [
        (lambda x: x * 0, "zeros"),
        (lambda x: x * 0 + 0.5, "constant"),
        (lambda x: x * 1, "copy"),
        (lambda x: x * 0.37, "copy"),
    ],
    ids=["zeros", "constant", "copy", "scaled copy"],
)
def test_a_trivial_right_answer_is_noticed(right, probe: str) -> None:  # type: ignore[no-untyped-def]
    """On such a case a candidate passes by doing nothing."""
    x = torch.randn(8, 64)
    assert probe in left(right(x.double()), x)


def test_bounds_too_wide_for_one_percent_are_noticed() -> None:
    """Where the incumbent is off by a percent, a candidate off by a percent cannot be told."""
    x = torch.randn(8, 64)
    right = x.double().square()
    probes = Probes.of("float32")
    probes.strike(Content((x,), (), ()), {"y": bounds(right, (right * 1.01).float(), "float32")})
    assert probes.unrefuted == {"scaled"}


def test_bfloat16_is_not_asked_for_one_percent() -> None:
    """Two honest roundings are as much."""
    assert Probes.of("bfloat16").unrefuted == set(PROBES) - {"scaled"}
