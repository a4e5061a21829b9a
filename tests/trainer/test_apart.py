"""How far apart two runs ended: zero for the same work, far for other work."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trainer.apart import FEWEST, Apart, apart
from trainer.errors import DataError


def checkpoint(folder: Path, moments: Tensor | None = None, **weights: Tensor) -> Path:
    """Each element of a weight or moment stands for a row of as many as it takes to count."""
    folder.mkdir()
    optimizer = {"adam.first": torch.ones(2) if moments is None else moments}
    for file, tensors in (("model", weights), ("optimizer", optimizer)):
        rows = {name: tensor.repeat_interleave(FEWEST) for name, tensor in tensors.items()}
        save_file(rows, folder / f"{file}.safetensors")
    return folder


@pytest.fixture
def initial(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "0", torch.zeros(2), a=torch.zeros(4), b=torch.ones(3))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """It moved a by 1 and left b where it was."""
    return checkpoint(tmp_path / "1", a=torch.tensor([1.0, 0, 0, 0]), b=torch.ones(3))


def test_the_same_work_is_no_way_apart(initial: Path, first: Path) -> None:
    """Also for a tensor that nobody moved."""
    assert apart(initial, first, first) == Apart(0.0, "b", ())


@pytest.mark.parametrize(
    ("change", "share", "tensor"),
    [
        ({"a": torch.tensor([1.0, 0.25, 0, 0])}, 0.25, "a"),
        ({"a": torch.zeros(4)}, 1.0, "a"),
        ({"moments": torch.tensor([1.0, 0.0])}, 1 / math.sqrt(2), "adam.first"),
        ({"b": torch.tensor([1.0, 1, 2])}, math.inf, "b"),
    ],
)
def test_the_tensor_furthest_away_says_how_far(
    tmp_path: Path, initial: Path, first: Path, change: dict[str, Tensor], share: float, tensor: str
) -> None:
    """One layer that was not trained must not hide among many that were."""
    given = {"a": torch.tensor([1.0, 0, 0, 0]), "b": torch.ones(3), **change}
    found = apart(initial, first, checkpoint(tmp_path / "2", **given))
    assert found.share == pytest.approx(share)
    assert found.tensor == tensor


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named(
    tmp_path: Path, initial: Path, first: Path, value: float
) -> None:
    """A comparison with NaN is never true, so it must not take part in one."""
    second = checkpoint(tmp_path / "2", a=torch.tensor([1.0, value, 0, 0]), b=torch.ones(3))
    assert apart(initial, first, second) == Apart(0.0, "b", ("a",))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"a": torch.zeros(4)}, "other tensors"),
        ({"a": torch.zeros(5), "b": torch.ones(3)}, "shape"),
    ],
)
def test_other_tensors_cannot_be_compared(
    tmp_path: Path, initial: Path, first: Path, weights: dict[str, Tensor], says: str
) -> None:
    """Fewer tensors would otherwise be fewer that can be wrong."""
    with pytest.raises(DataError, match=says):
        apart(initial, first, checkpoint(tmp_path / "2", **weights))


def test_a_damaged_file_is_told(initial: Path, first: Path) -> None:
    """Not as a crash of the library that reads it."""
    (first / "optimizer.safetensors").write_bytes(b"?" * 20)
    with pytest.raises(DataError, match=r"optimizer.safetensors .* is damaged"):
        apart(initial, initial, first)


def test_a_handful_of_scalars_decides_nothing(tmp_path: Path, initial: Path, first: Path) -> None:
    """Two numbers go their own way by rounding alone; but they must be numbers."""
    folders = [initial, first, checkpoint(tmp_path / "2", a=torch.ones(4), b=torch.ones(3))]
    for folder, value in zip(folders, (0.0, 1.0, 9.0), strict=True):
        save_file({"lambdas": torch.full((FEWEST - 1,), value)}, folder / "model.safetensors")
    assert apart(*folders).tensor == "adam.first"
    save_file({"lambdas": torch.full((FEWEST - 1,), math.nan)}, folders[2] / "model.safetensors")
    assert apart(*folders[:2], folders[2]).not_finite == ("lambdas",)


def test_a_quarter_of_the_moments_may_differ(tmp_path: Path, initial: Path, first: Path) -> None:
    """Gradients of single tensors differ by chance; those of a run that left out a step all do."""
    folders = [initial, first, checkpoint(tmp_path / "2", a=torch.zeros(4), b=torch.ones(3))]
    folders[2].joinpath("model.safetensors").write_bytes((first / "model.safetensors").read_bytes())
    for different, share in ((1, 0.0), (2, 3.0)):
        for folder, value in zip(folders, (0.0, 1.0, 4.0), strict=True):
            moments = {
                str(n): torch.full((FEWEST,), value if n < different else min(value, 1.0))
                for n in range(4)
            }
            save_file(moments, folder / "optimizer.safetensors")
        assert apart(*folders).share == share
