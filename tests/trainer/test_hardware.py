"""The engine and the hardware key, each with its reason."""

from __future__ import annotations

import os

import pytest
import torch

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
    assert resolve_engine("auto").value == "cpu"
    assert "no GPU" in resolve_engine("auto").reason
    devices["mps"] = True
    assert resolve_engine("auto").value == "mps"
    devices["cuda"] = True
    assert resolve_engine("auto") == ("cuda", "auto: torch sees a cuda device")
    assert resolve_engine("cpu") == ("cpu", "asked for")


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
