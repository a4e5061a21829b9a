"""The tour with the real trainer, harness and A/B, only shorter: interrupted, resumed, judged.

The one test here runs for about a minute: it is the whole product, end to end, on real text.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.ledger import Ledger
from trainer.ops import read_registry

SHORT = """
import sys
from lab import tour
tour.TRAIN_STEPS, tour.AB_STEPS, tour.EVAL_TOKENS = 2, 2, 1024
from lab.cli import main
main()
"""


def start(results: Path, checkout: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", SHORT, "--results", str(results), "tour", "--json"]
    return subprocess.Popen(
        argv, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kinds(results: Path) -> list[str]:
    ledger = Ledger(results / "tour" / "ledger.jsonl")
    assert ledger.verify().ok
    return [type(line).__name__ for line in ledger.read()]


@pytest.mark.timeout(900)
def test_a_tour_interrupted_resumed_and_judged(tmp_path: Path, checkout: Path) -> None:
    """A newcomer's first three minutes, with a Ctrl-C in the middle of the dearest stage."""
    results = tmp_path / "results"
    with start(results, checkout) as first:
        assert first.stderr is not None
        seen = ""
        for line in first.stderr:
            seen += line
            if line.startswith(("7/8", "8/8")):
                os.kill(first.pid, signal.SIGINT)
                break
        seen += first.stderr.read()
        assert first.wait(timeout=60) == 130, seen
    assert "Run the same command again" in seen
    before = kinds(results)
    assert before[:4] == ["Profiled", "Opened", "Verified", "Benched"]

    second = start(results, checkout)
    out, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    end = json.loads(out)
    assert end["verdict"]["decision"] in ("promote", "hold", "reject")
    assert end["sentence"].startswith(end["verdict"]["decision"].upper())
    assert err.count("done before") >= 3
    after = kinds(results)
    assert after[: len(before)] == before
    assert after.count("Verified") == after.count("Profiled") == 1
    assert after[-1] == "Judged"

    report = Path(end["report"]).read_text()
    assert end["target"] in report
    assert "<script" not in report
    assert Path(end["picture"]).read_bytes().startswith(b"\x89PNG")
    assert not end["promoted"]
    assert read_registry(checkout / "trainer" / "promoted.toml") == ()
