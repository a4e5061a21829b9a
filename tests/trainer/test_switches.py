"""An op that turns a switch of the whole process makes a run fail, and is told which one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import torch
from small_run import SHORT, run_train, small_data

from trainer.engines.torch import switches

TURNED: dict[str, tuple[Callable[[Any], None], Any, Any]] = {
    "torch.get_num_threads": (torch.set_num_threads, 1, 2),
    "torch.get_float32_matmul_precision": (
        torch.set_float32_matmul_precision,
        "highest",
        "medium",
    ),
    "torch.get_default_dtype": (torch.set_default_dtype, torch.float32, torch.float64),
    "torch.get_deterministic_debug_mode": (torch.set_deterministic_debug_mode, 0, 1),
    "torch.backends.cuda.flash_sdp_enabled": (torch.backends.cuda.enable_flash_sdp, True, False),
    "torch._C._is_any_autocast_enabled": (
        lambda on: torch.set_autocast_enabled("cpu", on),
        False,
        True,
    ),
    "torch.is_autocast_cache_enabled": (torch.set_autocast_cache_enabled, True, False),
    "gc.get_threshold": (lambda t: gc.set_threshold(*t), (700, 10, 10), (7000, 10, 10)),
    switches.DENORMALS: (torch.set_flush_denormal, False, True),
}


@pytest.fixture
def as_before() -> Iterator[None]:
    """Puts back what a test turned."""
    threads, collector = torch.get_num_threads(), gc.get_threshold()
    yield
    for turn, usual, _ in TURNED.values():
        turn(usual)
    torch.set_num_threads(threads)
    gc.set_threshold(*collector)


@pytest.mark.parametrize("name", TURNED)
def test_a_switch_that_is_turned_is_named(name: str, as_before: None) -> None:
    """Whoever meant no harm has to learn what to take out."""
    turn, usual, other = TURNED[name]
    turn(usual)
    before = switches.read()
    assert switches.changed(before, switches.read()) == ""
    turn(other)
    assert f"{name}: was " in switches.changed(before, switches.read())


def test_every_switch_can_be_read() -> None:
    """A name that torch does not know would never be seen to change."""
    unread = {name for name, value in switches.read().items() if value == "AttributeError"}
    assert unread == (set() if torch.version.cuda else {"torch.cuda.tunable.is_enabled"})


@pytest.mark.parametrize("when", ["loaded", "called"])
def test_a_run_refuses_an_op_that_turns_one(
    when: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_before: None,
) -> None:
    """Else the other ops of the step gain, and the A/B counts it for this one."""
    torch.set_num_threads(1)
    small_data(tmp_path)
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(tmp_path / "cache"))
    turn = "torch.set_float32_matmul_precision('medium')"
    loaded, called = (turn, "pass") if when == "loaded" else ("", turn)
    op = tmp_path / "op.py"
    op.write_text(
        f"import torch\n{loaded}\n\ndef relu_squared(x):\n    {called}\n"
        "    return torch.relu(x).square()\n"
    )
    flags = [f"--data={tmp_path / 'text'}", f"--op=relu_squared={op}", "--skip-eval"]
    code, _, err = run_train(capsys, *SHORT, *flags)
    assert code == 3
    assert "torch.get_float32_matmul_precision: was highest, is medium" in err
    assert ("loading the ops" if when == "loaded" else "training") in err


@pytest.mark.parametrize(
    ("turn", "named"),
    [
        ("mx.set_cache_limit(2**20)", "mlx.core.set_cache_limit: was "),
        ("mx.eval = lambda *arrays: None", "mlx.core.eval replaced"),
        ("mx.array.square = lambda self: self * self", "array.square replaced"),
        ("gc.set_threshold(7, 7, 7)", "gc.get_threshold: was "),
    ],
)
def test_a_run_on_mlx_refuses_an_op_that_turns_one(
    turn: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_before: None,
) -> None:
    """MLX has few, but memory that is kept, or a function for all ops, makes a step faster too."""
    small_data(tmp_path)
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(tmp_path / "cache"))
    cache, evaluate = mx.set_cache_limit(2**30), mx.eval
    op = tmp_path / "op.py"
    op.write_text(
        f"import gc\nimport mlx.core as mx\n{turn}\n\ndef relu_squared(x):\n"
        "    return mx.square(mx.maximum(x, 0))\n"
    )
    flags = [f"--data={tmp_path / 'text'}", f"--op=relu_squared={op}", "--skip-eval"]
    try:
        code, _, err = run_train(capsys, *SHORT, "--engine=mlx", *flags)
    finally:
        mx.eval = evaluate
        mx.set_cache_limit(cache)
    assert code == 3
    assert named in err
    assert "loading the ops" in err
