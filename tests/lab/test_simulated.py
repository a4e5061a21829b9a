"""Candidates in Metal without Metal: what the stages make of a simulator's word.

The harness is a stand-in; the real one and the simulator are tried in harness/test_simulator.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_records as made
import pytest

import lab.harness
from lab import stages
from lab.context import Lab, run_settings
from lab.describe import describe
from lab.errors import CommandError
from lab.harness import harness_sha256, identity
from lab.metal_sim import Unavailable
from lab.next_step import advance, next_step
from lab.outcomes import Failed, MetalFinding, MetalTraffic, Passed, Simulated
from lab.places import places
from lab.simulated import ways
from lab.workspace import Workspace

WARNING = MetalFinding(
    kernel="squares",
    kind="same_value_race",
    severity="warning",
    message="two threads write one value",
    part="body",
    line=3,
    thread=(1, 0, 0),
)
MOVED = MetalTraffic(kernel="squares", elements=100, bytes_moved=1250, bytes_least=800)
RAN = Simulated(launches={"squares": 9}, runs=12, findings=(WARNING,), traffic=(MOVED,))


@pytest.fixture
def here(tmp_path: Path) -> Lab:
    return Lab(places(tmp_path / "results", registry=tmp_path / "promoted.toml"), "mlx")


@pytest.fixture
def space(here: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in Metal whose candidate passes in a stand-in of the simulator."""

    def verify(candidate: Path, folder: Any, cases: Any, **how: Any) -> Passed:
        simulated = RAN if how["settings"].simulate else None
        return Passed(checks=tuple(made.check(case.name) for case in cases), simulated=simulated)

    monkeypatch.setattr(lab.harness, "verify", verify)
    monkeypatch.setattr(lab.harness, "isolation", lambda: "namespaces+seccomp")
    file = tmp_path / "mine.py"
    file.write_text("# a kernel\n")
    return stages.open_workspace(here, "relu_squared", language="metal", candidate=file)[0]


def test_task_md_says_what_a_candidate_in_metal_is_and_what_is_not_known(space: Workspace) -> None:
    """It is all that an agent gets."""
    task = (space.folder / "TASK.md").read_text()
    for words in (
        "mx.fast.metal_kernel",
        "mx.custom_function",
        "docs/metal.md",
        "not known to run",
    ):
        assert words in task
    assert "Here only verify and gate do their work" in task


def test_a_pass_in_the_simulator_is_shown_as_that_with_its_findings(
    here: Lab, space: Workspace
) -> None:
    """Nobody may take it for a run on Metal."""
    record = stages.verify(here, space)
    assert record.tier == "simulated"
    assert record.harness_sha256 == harness_sha256(simulator=True)
    shown = "\n".join(str(part) for part in describe(record))
    assert "verify: passed (SIMULATED)" in shown
    assert "warning: squares: body:3: same_value_race: two threads" in shown
    assert "squares: 12.50 bytes per element, 8.00 at least" in shown
    assert "Whether it runs on Metal, and how fast, is not known" in shown


def test_a_failure_shows_what_else_was_found(here: Lab, space: Workspace) -> None:
    """One error ends it; the warnings before it may be its cause."""
    failed = Failed(reason="metal_finding", detail="a race", simulated=RAN)
    record = made.verified(failed, tier="simulated")
    shown = "\n".join(str(part) for part in describe(record))
    assert "verify: FAILED: metal_finding" in shown
    assert "same_value_race" in shown


def test_a_simulator_is_never_timed_and_promotes_nothing(here: Lab, space: Workspace) -> None:
    """bench and ab name what to do instead, and the gate says why it holds."""
    stages.verify(here, space)
    settings = run_settings(here, space.seal.preset, "stdlib", 20, "16384", workspace=space)
    for refuses in (
        lambda: stages.bench(here, space),
        lambda: stages.ab(here, space, settings, pairs=3),
    ):
        with pytest.raises(CommandError, match="there is no Metal here") as caught:
            refuses()
        assert "On a Mac: kernel-lab --engine mlx open relu_squared" in caught.value.hint
    verdict = stages.gate(here, space).verdict
    assert verdict.decision == "hold"
    (reason,) = [reason for reason in verdict.reasons if reason.rule == "verify"]
    assert not reason.holds
    assert "a simulator is no GPU, and promotes nothing" in reason.detail


def test_what_comes_next_is_a_mac(here: Lab, space: Workspace) -> None:
    """orchestrate must neither bench it nor stop at it."""
    assert next_step(here, space).stage == "verify"
    step = advance(here, space)
    assert step.stage == "device"
    assert step.command.startswith("on a Mac: kernel-lab --engine mlx open relu_squared")
    assert str(space.candidate_file) in step.command


def test_a_change_to_the_simulator_voids_what_came_from_it_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence of torch's candidates has nothing to do with it."""
    before = harness_sha256(), harness_sha256(simulator=True)
    changed = [Path(identity.SIMULATOR, name) for name in ("simulate.py", "runtime/checks.cpp")]
    assert set(changed) <= set(identity._simulator())
    monkeypatch.setattr(identity, "_simulator", lambda: changed)
    after = harness_sha256(), harness_sha256(simulator=True)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_simulate_is_for_metal_and_adds_nothing_where_there_is_none(
    here: Lab, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Mac it comes after the run on the GPU, where the simulator works; else it says so."""
    assert ways(space.seal, asked=False) == ways(space.seal, asked=True) == (True,)
    monkeypatch.setattr("lab.simulated.simulates", lambda language, engine: False)
    assert ways(space.seal, asked=False) == (False,)
    assert ways(space.seal, asked=True) == (False, True)
    monkeypatch.setenv("KERNEL_LAB_METAL_CLANG", "/nowhere/clang")
    with pytest.raises(Unavailable, match="/nowhere/clang does not run"):
        ways(space.seal, asked=True)
    other = stages.open_workspace(here, "relu_squared", language="mlx")[0]
    with pytest.raises(CommandError, match="--simulate is for candidates in metal"):
        ways(other.seal, asked=True)


def test_metal_is_a_language_of_mlx_alone(tmp_path: Path) -> None:
    """And without a file to start from, the error says how to name one."""
    file = tmp_path / "mine.py"
    how = {"language": "metal", "candidate": file}
    mlx = Lab(places(tmp_path / "results"), "mlx")
    with pytest.raises(CommandError, match="missing") as caught:
        stages.open_workspace(mlx, "relu_squared", **how)
    assert "--language metal --candidate FILE" in caught.value.hint
    file.write_text("# a kernel\n")
    torch = Lab(places(tmp_path / "results"), "cpu")
    with pytest.raises(CommandError, match="candidates in metal cannot be judged on engine 'cpu'"):
        stages.open_workspace(torch, "relu_squared", **how)
