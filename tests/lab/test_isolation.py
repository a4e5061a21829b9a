"""Where no sandbox works the lab refuses; who goes on without one promotes nothing by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from made_records import WANTED, benched, calibrated, opened, tried, verified, with_ids

from lab import doctor, stages, tour
from lab.cli import cli
from lab.context import Lab, hidden, run_settings
from lab.errors import MachineError
from lab.evidence import collect
from lab.gate import judge
from lab.harness import sandbox
from lab.harness.sandbox import NoSandbox
from lab.isolation import CONFINING, FORCE, NONE, confines, forgone, without_sandbox
from lab.places import places

GOOD = (opened(), verified(), benched(), tried(), calibrated())


@pytest.fixture
def here(tmp_path: Path) -> Lab:
    registry = tmp_path / "registry" / "promoted.toml"
    return Lab(places(tmp_path / "results", registry=registry), "cpu")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nothing confines, as in a container without rights."""
    monkeypatch.delenv(FORCE, raising=False)
    real = sandbox._problem
    monkeypatch.setattr(
        sandbox, "_problem", lambda kind: real(kind) if kind == NONE else "not permitted"
    )
    sandbox._explain.cache_clear()
    yield
    sandbox._explain.cache_clear()


@pytest.mark.usefixtures("bare")
def test_without_a_sandbox_nothing_is_started(tmp_path: Path) -> None:
    """Falling back silently would run hostile code beside the ledger."""
    made = tmp_path / "made"
    with pytest.raises(NoSandbox, match="namespaces: not permitted") as caught:
        sandbox.launch(
            ["/usr/bin/touch", str(made)], scratch=tmp_path, limits=sandbox.Limits(wall_s=9)
        )
    assert "--no-sandbox" in caught.value.hint
    assert "bubblewrap" in caught.value.hint
    assert caught.value.exit_code == 3
    assert not made.exists()


@pytest.mark.usefixtures("bare")
def test_verify_refuses_with_exit_code_3_and_records_nothing(here: Lab) -> None:
    """The machine is to blame, and the message says what to install and which flag goes on."""
    stages.open_workspace(here, "relu_squared")
    front = ["--engine", "cpu", "--results", str(here.places.results)]
    answer = CliRunner().invoke(cli, [*front, "verify", "relu_squared"])
    assert answer.exit_code == 3, answer.output
    assert "no sandbox works on this machine" in answer.stderr
    assert "kernel-lab --no-sandbox VERB" in answer.stderr
    assert [type(line).__name__ for line in here.ledger.read()] == ["Opened"]


@pytest.mark.usefixtures("bare")
def test_the_flag_goes_on_and_the_name_says_so() -> None:
    """The same word by flag and by environment: neither is a way around the other's mark."""
    with without_sandbox():
        assert forgone()
        assert sandbox.isolation() == NONE
    assert not forgone()
    with pytest.raises(NoSandbox):
        sandbox.isolation()


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_going_without_is_said_aloud_and_forgotten_afterwards(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A flag of one command must not weaken the next one of the same process."""
    monkeypatch.delenv(FORCE, raising=False)
    words = ["--engine", "cpu", "--results", str(tmp_path), "targets"]
    assert "no sandbox" not in CliRunner().invoke(cli, words).stderr
    if how == "flag":
        words.insert(0, "--no-sandbox")
    else:
        monkeypatch.setenv(FORCE, NONE)
    answer = CliRunner().invoke(cli, words)
    assert answer.exit_code == 0
    assert "warning: no sandbox" in answer.stderr
    assert (FORCE in os.environ) == (how == "environment")


@pytest.mark.usefixtures("bare")
def test_doctor_tells_which_of_the_two_it_is(here: Lab) -> None:
    """Missing is a fault of the machine; done without is what was asked for."""
    missing = doctor._sandbox()
    assert not missing.ok
    assert missing.required
    assert "--no-sandbox" in missing.fix
    with without_sandbox():
        asked = doctor._sandbox()
    assert not asked.ok
    assert not asked.required
    assert "nothing promotes" in asked.detail


@pytest.mark.usefixtures("bare")
def test_the_tour_goes_on_with_the_labs_own_candidate_only(here: Lab) -> None:
    """A fresh machine shall see the tour; nobody else's code shall run for it."""
    space, _ = stages.open_workspace(here, "relu_squared")
    said: list[str] = []
    with tour._sandbox(here, space, said.append):
        assert sandbox.isolation() == NONE
    assert "no sandbox works" in said[0]
    assert not forgone()
    space.candidate_file.write_text("def relu_squared(x):\n    return x.relu().square()\n")
    with pytest.raises(MachineError):
        tour._sandbox(here, space, said.append)


@pytest.mark.parametrize("stage", ["verify", "bench", "ab"])
@pytest.mark.parametrize("recorded", [NONE, "process", "", "Namespaces", "unheard-of+seccomp"])
def test_evidence_without_a_sandbox_holds_and_names_the_stage(stage: str, recorded: str) -> None:
    """Of whichever stage; and a word that nobody knows is no sandbox."""
    lines: list[Any] = list(GOOD)
    at = 1 + ["verify", "bench", "ab"].index(stage)
    lines[at] = msgspec.structs.replace(lines[at], isolation=recorded)
    found = judge(collect(with_ids(lines), **WANTED))
    assert found.decision == "hold"
    unmet = [reason for reason in found.reasons if not reason.holds]
    assert [reason.rule for reason in unmet] == ["sandbox"]
    assert f"run: kernel-lab {stage} rmsnorm" in unmet[0].detail


@pytest.mark.parametrize("kind", CONFINING)
def test_every_sandbox_counts_with_and_without_a_filter(kind: str) -> None:
    """Else an honest candidate could never be promoted on that machine."""
    assert confines(kind)
    assert confines(f"{kind}+seccomp")
    assert not confines(f"not-{kind}")


def test_no_candidate_sees_results_ledger_or_other_workspaces(here: Lab, tmp_path: Path) -> None:
    """Wherever they lie: a root of workspaces outside of the results, a ledger of its own."""
    lab = Lab(places(here.places.results, ledger=tmp_path / "far" / "ledger.jsonl"), "cpu")
    root = tmp_path / "root"
    mine, _ = stages.open_workspace(lab, "relu_squared", folder=root / "mine")
    stages.open_workspace(lab, "rmsnorm", folder=root / "other")
    (root / "python").mkdir()
    found = set(hidden(lab, mine))
    assert found == {lab.places.results, lab.places.ledger, root / "mine", root / "other"}
    assert set(run_settings(lab, "tour", "stdlib", 2, "1000", workspace=mine).hide) == found
