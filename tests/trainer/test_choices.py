"""What the torch engine and its process decide by themselves, each with a reason."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from trainer.engines.torch import choices
from trainer.engines.torch.allocator import keep_freed_memory
from trainer.engines.torch.peak import peak_flops
from trainer.errors import EngineError
from trainer.hardware import resident_peak_mb
from trainer.threads import share_cores


def test_dtypes_follow_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where the device multiplies it, float32 elsewhere, and never by emulation."""
    for engine in ("cpu", "mps"):
        assert choices.compute_dtype(engine).value == choices.muon_dtype(engine).value == "float32"
    for present, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, p=present: p
        )
        assert choices.compute_dtype("cuda").value == choices.muon_dtype("cuda").value == dtype
        assert "bfloat16" in choices.compute_dtype("cuda").reason


@pytest.mark.parametrize(
    ("engine", "asked", "is_compiler_here", "value"),
    [
        ("cpu", None, True, "off"),
        ("cpu", True, True, "on"),
        ("cpu", False, True, "off"),
        ("cuda", None, True, "on"),
        ("cuda", None, False, "off"),
        ("cuda", False, True, "off"),
        ("mps", None, True, "off"),
    ],
)
def test_compilation_is_the_default_on_cuda_only(
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    asked: bool | None,
    is_compiler_here: bool,
    value: str,
) -> None:
    """A default that cannot be honoured is off, with the reason."""
    found = "here" if is_compiler_here else None
    monkeypatch.setattr("shutil.which", lambda name: found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    choice = choices.compilation(engine, asked)
    assert choice.value == value
    assert choice.reason


@pytest.mark.parametrize(("engine", "missing"), [("cpu", "C\\+\\+ compiler"), ("cuda", "Triton")])
def test_compiling_without_a_compiler_is_an_error_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, engine: str, missing: str
) -> None:
    """And it names what is missing."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=missing):
        choices.compilation(engine, True)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
    ],
)
def test_known_peaks_are_found_by_the_devices_name(
    monkeypatch: pytest.MonkeyPatch, name: str, peak: float
) -> None:
    """Upstream takes the H100's for every GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    value, source = peak_flops(torch.device("cuda"), torch.bfloat16)
    assert value == peak
    assert source.startswith("data sheet")


def test_other_peaks_are_measured() -> None:
    """A plausible rate, and the report says how it was come by."""
    value, source = peak_flops(torch.device("cpu"), torch.float32)
    assert 1e8 < value < 1e15
    assert "measured" in source


def test_resident_memory_is_in_mebibytes() -> None:
    """getrusage counts kibibytes on Linux and bytes on macOS; torch alone takes 100 MiB."""
    assert 50 < resident_peak_mb() < 100_000


def test_the_allocator_setting_is_harmless_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On macOS nothing is touched."""
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_freed_memory() is False


def test_the_users_own_thread_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a default is set."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    share_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ
