"""Ctrl-C while steps are counted, and what is printed meanwhile."""

from __future__ import annotations

import os
import re
import signal

import pytest

from trainer.config import PRESETS
from trainer.interrupt import Interrupt
from trainer.loop import Position
from trainer.output import Output


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_asks_and_the_second_insists() -> None:
    """One lets the step finish and the checkpoint be saved; nobody is held against their will."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.wanted
        press_ctrl_c()
        assert interrupt.wanted
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_block_ctrl_c_is_as_always() -> None:
    """An evaluation or a start-up that takes too long is simply stopped."""
    with Interrupt():
        pass
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


@pytest.fixture
def steps() -> list[Position]:
    """Four steps of one second each."""
    return [Position(i, float(i), 9.0, 9.0 - i, 1000.0) for i in range(1, 5)]


def test_a_log_gets_few_whole_lines(
    steps: list[Position], capsys: pytest.CaptureFixture[str]
) -> None:
    """A log of a thousand steps must not be a megabyte of carriage returns."""
    output = Output(stdout_is_json=True)
    for position in steps:
        output.step(position, position.step / 4, PRESETS["tour"])
    output.say("")
    output.header(["header"])
    captured = capsys.readouterr()
    assert captured.out == ""
    first, header = captured.err.splitlines()
    assert header == "header"
    assert first.startswith("step 00001 ( 25.0%) | loss 8.0000 | 1,000 ms | 1,024 tokens/s | 3 s")
    assert "\r" not in captured.err


def test_a_terminal_gets_one_line_that_rewrites_itself(
    steps: list[Position], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And remarks begin on a line of their own."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("trainer.output.TERMINAL_SECONDS", 0.0)
    output = Output()
    for position in steps:
        output.step(position, position.step / 4, PRESETS["tour"])
    output.say("remark")
    err = capsys.readouterr().err
    assert err.count("\r") == 4
    assert err.endswith("\nremark\n")


def test_the_loss_that_is_shown_is_smoothed_without_a_cold_start(
    steps: list[Position], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first value is the first loss, not a tenth of it."""
    monkeypatch.setattr("trainer.output.PLAIN_SECONDS", 0.0)
    output = Output()
    for position in steps:
        output.step(position, position.step / 4, PRESETS["tour"])
    shown = [float(loss) for loss in re.findall(r"loss (\S+)", capsys.readouterr().err)]
    assert shown[0] == 8.0
    assert 5.0 < shown[-1] < 7.0


def test_a_library_call_prints_nothing(
    steps: list[Position], capsys: pytest.CaptureFixture[str]
) -> None:
    """`quiet` is for tests and other programs."""
    output = Output(quiet=True)
    output.header(["x"])
    output.step(steps[0], 0.5, PRESETS["tour"])
    output.evaluated(1, 2)
    output.say("remark")
    assert capsys.readouterr() == ("", "")
