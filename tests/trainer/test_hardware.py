"""The engine and the hardware key, each with its reason."""

from __future__ import annotations

import os
import sys

import mlx.core as mx
import pytest
import torch

from trainer import hardware
from trainer.errors import EngineError, UsageError
from trainer.hardware import hardware_key, resolve_engine, usable_cores
from trainer.system import cpu_model


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Which devices torch is made to see."""
    present = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: present["mps"])
    return present


def test_auto_takes_the_best_device_and_says_why(devices: dict[str, bool]) -> None:
    """A run on the CPU by accident costs an afternoon."""
    assert resolve_engine("auto") == ("cpu", "auto: torch sees no GPU")
    devices["mps"] = True
    assert resolve_engine("auto").value == "cpu", "mps has to be asked for"
    devices["cuda"] = True
    assert resolve_engine("auto") == ("cuda", "auto: torch sees a cuda device")
    assert resolve_engine("cpu") == ("cpu", "asked for")


def test_auto_takes_mlx_on_apple_silicon(
    devices: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where MLX is missing there, the slower choice says what would have been faster."""
    monkeypatch.setattr(hardware, "is_apple_silicon", lambda: True)
    assert resolve_engine("auto") == ("mlx", "auto: this is Apple silicon")
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    choice = resolve_engine("auto")
    assert choice.value == "cpu"
    assert "mlx would be faster, but MLX cannot be imported" in choice.reason


def test_a_missing_mlx_is_told_with_the_package_of_the_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Linux plain `mlx` installs and then does not import: the extra is what is missing."""
    assert resolve_engine("mlx") == ("mlx", "asked for")
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    for platform, package in (("linux", "'mlx[cpu]'"), ("darwin", "'mlx'"), ("win32", "cuda")):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(EngineError, match="cannot be imported") as caught:
            resolve_engine("mlx")
        assert package in caught.value.hint


def test_the_wrong_build_of_mlx_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX for NVIDIA GPUs imports well, and would compute where nothing was tried."""
    monkeypatch.setattr(mx.metal, "is_available", lambda: False)
    monkeypatch.setattr(mx, "is_available", lambda device: True)
    with pytest.raises(EngineError, match="NVIDIA") as caught:
        resolve_engine("mlx")
    assert "pip install" in caught.value.hint


def test_a_named_engine_is_never_replaced(devices: dict[str, bool]) -> None:
    """Explicit choices that cannot be honoured raise."""
    with pytest.raises(EngineError, match="no such device"):
        resolve_engine("cuda")
    devices["cuda"] = True
    assert resolve_engine("cuda").value == "cuda"


def test_an_unknown_engine_is_a_usage_error() -> None:
    """With the list, `auto` among it."""
    with pytest.raises(UsageError, match="Did you mean 'cuda'") as caught:
        resolve_engine("cudaa")
    assert "auto" in caught.value.hint


def test_the_key_of_a_cpu_names_model_and_usable_cores() -> None:
    """Evidence from eight cores is none for two."""
    assert hardware_key("cpu") == f"{cpu_model()} x{usable_cores()}"
    assert cpu_model().strip()


def test_mlx_is_filed_under_what_it_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU on a Mac, as for mps; elsewhere the CPU."""
    monkeypatch.setattr(hardware, "is_apple_silicon", lambda: False)
    assert hardware_key("mlx") == hardware_key("cpu")
    monkeypatch.setattr(hardware, "is_apple_silicon", lambda: True)
    assert hardware_key("mlx") == hardware_key("mps")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_usable_cores_follow_the_affinity() -> None:
    """Under taskset fewer cores are used than the machine has."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)
