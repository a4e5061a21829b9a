"""From open to promoted with a stand-in for the harness: what leads on, what holds up, what counts.

The stand-ins return records made by hand, so these tests are about the stages, the evidence and the
promotion; the real harness and trainer are put through the same stages in test_tour.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_records as made
import msgspec
import pytest

import lab.ab
import lab.harness
import lab.recordings
import lab.roofline
from lab import orchestrate, stages
from lab.context import Lab, run_settings
from lab.errors import CandidateError, CommandError
from lab.harness import harness_sha256
from lab.machine import fingerprint
from lab.next_step import advance, next_step
from lab.outcomes import Broken, Compared, Failed, Measured, Pair, Passed, Quarantined
from lab.places import places
from lab.promote import demote, promote
from lab.records import Judged, Tried
from lab.training_run import Task
from lab.workspace import Workspace
from trainer.hardware import hardware_key
from trainer.ops import resolve

TARGET = "relu_squared"


class Harness:
    """What the stand-ins answer, and how often they were asked."""

    def __init__(self) -> None:
        self.verified: Passed | Failed | None = None
        self.benched: Measured | Quarantined | Failed | None = None
        self.control = 1.0
        self.step_speedup = 1.1
        self.isolation = "namespaces+seccomp"
        self.first_seed = 0
        self.asked_pairs: list[tuple[int, int]] = []
        self.saw: dict[str, Any] = {}

    def verify(self, candidate: Path, folder: Any, cases: Any, **settings: Any) -> Passed | Failed:
        if self.verified:
            return self.verified
        self.saw = settings
        checks = tuple(made.check(case.name) for case in cases)
        return Passed(checks=checks, recording=settings["recording"] or "")

    def bench(self, candidate: Path, folder: Any, cases: Any, **settings: Any) -> Any:
        if self.benched:
            return self.benched
        timed = [made.steady(c.name, control=self.control) for c in cases if c.purpose == "train"]
        return Measured(cases=tuple(timed), speedup=made.UNUSED, control=made.UNUSED)

    def with_ops(self, pair: Pair, task: Task) -> Pair:
        """The pair with the hashes that a real run would report."""
        incumbent = resolve("cpu", "a machine without promotions")[TARGET].sha256
        ran = {"incumbent": incumbent, "candidate": task.candidate_sha256}
        arms = {
            name: msgspec.structs.replace(getattr(pair, name), ops={TARGET: sha256})
            for name, sha256 in ran.items()
        }
        return msgspec.structs.replace(pair, **arms)

    def compare(self, task: Task, settings: Any, count: int, *, done: Any, progress: Any) -> Any:
        self.asked_pairs.append((len(done), count))
        pairs = made.pairs(count, self.step_speedup)
        seeded = [msgspec.structs.replace(p, seed=p.seed + self.first_seed) for p in pairs]
        fixed = [self.with_ops(p, task) for p in seeded]
        return Compared(
            preset=settings.preset,
            data=settings.data,
            eval_tokens=settings.eval_tokens,
            steps=20,
            pairs=(*done, *fixed[len(done) :]),
            speedup=made.UNUSED,
            val_bpb=made.UNUSED,
        )


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    stand_in = Harness()
    monkeypatch.setattr(lab.harness, "verify", stand_in.verify)
    monkeypatch.setattr(lab.recordings, "provide", lambda *given: "a recording")
    monkeypatch.setattr(lab.harness, "bench", stand_in.bench)
    monkeypatch.setattr(lab.harness, "isolation", lambda: stand_in.isolation)
    monkeypatch.setattr(lab.ab, "compare", stand_in.compare)
    monkeypatch.setattr(lab.roofline, "measure", lambda *given, **named: None)
    return stand_in


@pytest.fixture
def uncalibrated(tmp_path: Path) -> Lab:
    results = tmp_path / "results"
    return Lab(places(results, registry=tmp_path / "registry" / "promoted.toml"), "cpu")


@pytest.fixture
def here(uncalibrated: Lab) -> Lab:
    machine = fingerprint("cpu")
    uncalibrated.ledger.append(made.calibrated(machine=machine, harness_sha256=harness_sha256()))
    return uncalibrated


def try_it(here: Lab, space: Workspace, pairs: int = 8, fresh: bool = False) -> Tried:
    settings = run_settings(here, space.seal.preset, "stdlib", 20, "16384", workspace=space)
    return stages.ab(here, space, settings, pairs=pairs, fresh=fresh)


def judged_after_all(here: Lab, space: Workspace) -> Judged:
    stages.verify(here, space)
    stages.bench(here, space)
    try_it(here, space)
    return stages.gate(here, space)


def test_the_whole_way_and_back(here: Lab, harness: Harness) -> None:
    """Promotion reaches the next run, demotion takes it back, each with a record."""
    space, _ = stages.open_workspace(here, TARGET)
    steps = [next_step(here, space).stage]
    for stage in (stages.verify, stages.bench, try_it):
        stage(here, space)
        steps.append(next_step(here, space).stage)
    assert steps == ["verify", "bench", "ab", "promote"]
    judged = stages.gate(here, space)
    assert judged.verdict.decision == "promote"
    record = promote(here, space, judged)
    hardware = hardware_key("cpu")
    op = resolve("cpu", hardware, registry=here.places.registry)[TARGET]
    assert op.sha256 == record.candidate_sha256
    assert next_step(here, space).stage == "promoted"
    demote(here, TARGET, "only a test")
    assert resolve("cpu", hardware, registry=here.places.registry)[TARGET].reason == "incumbent"
    kinds = dict.fromkeys(type(line).__name__ for line in here.ledger.read())
    assert list(kinds) == [
        "Calibrated",
        "Opened",
        "Verified",
        "Benched",
        "Tried",
        "Judged",
        "Promoted",
        "Demoted",
    ]
    assert here.ledger.verify().ok


def test_verify_a_edit_to_b_promote_b_is_impossible(here: Lab, harness: Harness) -> None:
    """The oldest trick: evidence for one text, promotion of another."""
    space, _ = stages.open_workspace(here, TARGET)
    judged = judged_after_all(here, space)
    space.candidate_file.write_text(space.candidate_file.read_text() + "# B\n")
    with pytest.raises(CandidateError, match="changed"):
        promote(here, space, judged)
    again = stages.gate(here, space)
    assert again.verdict.decision == "hold"
    with pytest.raises(CandidateError, match="the gate says hold"):
        promote(here, space, again)
    with pytest.raises(CandidateError, match="no verification"):
        stages.bench(here, space)


def test_without_a_recording_the_gate_holds(here: Lab, harness: Harness) -> None:
    """A quick verify is for the author; what promotes has met real activations."""
    space, _ = stages.open_workspace(here, TARGET)
    judged_after_all(here, space)
    assert stages.gate(here, space).verdict.decision == "promote"
    stages.verify(here, space, recorded=False)
    held = stages.gate(here, space).verdict
    assert held.decision == "hold"
    (reason,) = [r for r in held.reasons if not r.holds]
    assert reason.rule == "verify"
    assert "recorded" in reason.detail
    assert f"kernel-lab verify {space.name}" in reason.detail


def test_no_worker_sees_the_results(here: Lab, harness: Harness) -> None:
    """The recording lies there, wherever --results says that is."""
    space, _ = stages.open_workspace(here, TARGET)
    stages.verify(here, space)
    assert here.places.results in harness.saw["settings"].hide
    assert here.places.recordings.parent == here.places.results


def test_a_failure_is_a_record_and_sends_back_to_the_editor(here: Lab, harness: Harness) -> None:
    """What failed must not be tried again unawares, nor be timed."""
    harness.verified = Failed(reason="numeric", detail="far off")
    space, _ = stages.open_workspace(here, TARGET)
    stages.verify(here, space)
    step = next_step(here, space)
    assert (step.stage, step.why) == ("edit", "verify: numeric")
    with pytest.raises(CandidateError, match="failed verification"):
        stages.bench(here, space)
    assert stages.gate(here, space).verdict.decision == "reject"


def test_an_impossible_bench_is_no_evidence(here: Lab, harness: Harness) -> None:
    """Faster than light is quarantined and promotes nothing."""
    harness.benched = Quarantined(reason="faster_than_light", detail="0.001 ms")
    space, _ = stages.open_workspace(here, TARGET)
    assert judged_after_all(here, space).verdict.decision == "reject"
    assert next_step(here, space).why == "bench: faster_than_light"


def test_a_bench_too_noisy_to_tell_is_made_again(here: Lab, harness: Harness) -> None:
    """The machine is to blame: its author has nothing to edit."""
    harness.benched = Quarantined(reason="too_noisy", detail="known to 12% either way")
    space, _ = stages.open_workspace(here, TARGET)
    assert judged_after_all(here, space).verdict.decision == "hold"
    step = next_step(here, space)
    assert (step.stage, step.why) == ("bench", "again: the machine was noisy")


def test_a_machine_that_stays_noisy_is_not_benched_without_end(here: Lab, harness: Harness) -> None:
    """`orchestrate --agent` would hang there."""
    harness.benched = Quarantined(reason="too_noisy", detail="wide")
    space, _ = stages.open_workspace(here, TARGET)
    assert advance(here, space).stage == "bench"
    assert len(list(here.ledger.find(kind="benched"))) == 1


def test_what_is_open_is_made_again_before_training(here: Lab, harness: Harness) -> None:
    """Pairs of training runs decide nothing about a bench whose control was off."""
    harness.control = 1.03
    space, _ = stages.open_workspace(here, TARGET)
    stages.verify(here, space, recorded=False)
    assert next_step(here, space).stage == "bench"
    stages.bench(here, space)
    step = next_step(here, space)
    assert (step.stage, step.command) == ("verify", f"kernel-lab verify {space.name}")
    stages.verify(here, space)
    step = next_step(here, space)
    assert (step.stage, step.why) == (
        "bench",
        "undecided: bench_control; ab; ab_step_time; ab_val_bpb",
    )


def test_looks_add_up_and_stop_when_decided(here: Lab, harness: Harness) -> None:
    """Pairs are dear, and drawing new ones until they please is cheating."""
    harness.step_speedup = 1.004
    space, _ = stages.open_workspace(here, TARGET)
    stages.verify(here, space)
    stages.bench(here, space)
    try_it(here, space, pairs=3)
    assert "--pairs 5" in next_step(here, space).command
    try_it(here, space, pairs=5)
    assert harness.asked_pairs == [(0, 3), (3, 5)]
    harness.step_speedup = 1.2
    harness.asked_pairs.clear()
    other, _ = stages.open_workspace(here, TARGET)
    other.candidate_file.write_text(other.candidate_file.read_text() + "# other\n")
    stages.verify(here, other)
    stages.bench(here, other)
    try_it(here, other)
    assert harness.asked_pairs == [(0, 3), (3, 5)]  # of 8: decided


def test_the_tenth_try_is_sent_to_a_confirmation_and_promoted_by_it(
    here: Lab, harness: Harness
) -> None:
    """What would do for a first A/B is neither lost at the tenth try nor let in by itself."""
    space, _ = stages.open_workspace(here, TARGET)
    stages.verify(here, space)
    stages.bench(here, space)
    for number in range(9):
        other = made.tried(made.compared(made.pairs(3)), target=TARGET)
        first = msgspec.structs.replace(other.outcome.pairs[0], seed=number)
        outcome = msgspec.structs.replace(other.outcome, pairs=(first,))
        machine = fingerprint("cpu")
        here.ledger.append(msgspec.structs.replace(other, outcome=outcome, machine=machine))
    harness.step_speedup = 1.012
    assert len(try_it(here, space).outcome.pairs) == 8
    step = next_step(here, space)
    assert step.command.endswith("--fresh")
    assert stages.gate(here, space).verdict.decision == "hold"
    harness.first_seed = 500
    harness.asked_pairs.clear()
    try_it(here, space, fresh=True)
    assert harness.asked_pairs[0] == (0, 3)
    judged = stages.gate(here, space)
    assert judged.verdict.decision == "promote"
    ours = [line.id for line in here.ledger.find(kind="tried") if line.workspace == space.name]
    assert {ours[2], ours[-1]} < set(judged.evidence)


def test_on_a_machine_that_was_not_calibrated_the_next_step_is_that(
    uncalibrated: Lab, harness: Harness
) -> None:
    """All evidence of a machine rests on its clocks."""
    space, _ = stages.open_workspace(uncalibrated, TARGET)
    assert judged_after_all(uncalibrated, space).verdict.decision == "hold"
    step = next_step(uncalibrated, space)
    assert (step.stage, step.command) == ("calibrate", "kernel-lab --engine cpu calibrate-noise")
    assert "promotes nothing" in orchestrate.status(uncalibrated).calibration


def test_a_broken_ab_is_not_continued(
    here: Lab, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that hid steps cannot be healed by more pairs."""
    broken = Broken(reason="clock_mismatch", detail="lied")
    monkeypatch.setattr(lab.ab, "compare", lambda *given, **named: broken)
    space, _ = stages.open_workspace(here, TARGET)
    assert judged_after_all(here, space).verdict.decision == "reject"
    assert next_step(here, space).why == "ab: clock_mismatch"


def test_pairs_made_without_a_sandbox_are_not_taken_over(here: Lab, harness: Harness) -> None:
    """Else one look in a sandbox would launder the looks before it."""
    space, _ = stages.open_workspace(here, TARGET)
    harness.step_speedup = 1.004
    stages.verify(here, space)
    stages.bench(here, space)
    harness.isolation = "none"
    try_it(here, space, pairs=3)
    judged = stages.gate(here, space)
    assert [r.rule for r in judged.verdict.reasons if "without a sandbox" in r.detail] == [
        "sandbox"
    ]
    assert next_step(here, space).stage == "ab"
    harness.isolation = "namespaces+seccomp"
    harness.asked_pairs.clear()
    try_it(here, space, pairs=3)
    assert harness.asked_pairs == [(0, 3)]


def test_too_few_pairs_are_refused(here: Lab, harness: Harness) -> None:
    """One pair decides nothing, so it is not run."""
    space, _ = stages.open_workspace(here, TARGET)
    stages.verify(here, space)
    with pytest.raises(CommandError, match="at least 3"):
        try_it(here, space, pairs=2)


def test_a_changed_target_voids_its_workspaces(
    here: Lab, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that was sealed is no longer the task."""
    space, _ = stages.open_workspace(here, TARGET)
    from kernels.spec import TargetFolder

    monkeypatch.setattr(TargetFolder, "sha256", "f" * 64)
    with pytest.raises(CommandError, match="changed since"):
        stages.verify(here, space)


def test_no_change_is_neither_benched_nor_tried(here: Lab, harness: Harness) -> None:
    """What is the incumbent anyhow can only win by noise; no time is spent on that."""
    space, _ = stages.open_workspace(here, TARGET)
    harness.verified = Passed(checks=(), no_change_of="incumbent")
    stages.verify(here, space)
    for stage in (stages.bench, try_it):
        with pytest.raises(CandidateError, match="no change") as refused:
            stage(here, space)
        assert refused.value.exit_code == 1
    step = next_step(here, space)
    assert step.stage == "edit"
    assert "incumbent called again" in step.why


def test_the_task_names_the_ranges_of_hidden_shapes_and_no_shape(here: Lab) -> None:
    """An author must know what is legal, and must not know what is drawn."""
    space, _ = stages.open_workspace(here, "rope_qk_norm")
    text = (space.folder / "TASK.md").read_text()
    assert "`head_dim` 2 to 512, a multiple of 2" in text
    assert "`half` = head_dim / 2" in text
    assert "hidden_" not in text
