"""A machine counts as calibrated when the lab saw there what it was shown, and nothing else."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

import made_records as made
import pytest
import torch

import lab.ab
import lab.harness
import trainer.data
from kernels.spec import discover, load_module
from lab import doctor, gate_calibration
from lab.calibrate import STEP_OP, Plan, calibrate
from lab.context import Lab
from lab.describe_answers import describe
from lab.errors import CommandError
from lab.evidence import Evidence
from lab.gate import Policy
from lab.harness import handicaps
from lab.outcomes import Broken, Failed, Measured, Quarantined
from lab.places import places
from lab.records import Handicap
from trainer.config import preset, training_shape
from trainer.errors import DataError, TrainerError

SMALL = training_shape(preset("tour"), 256)
GOOD = ((0.0, 1.0), (0.02, 0.999), (0.05, 0.95), (0.1, 0.9))


def trial(slowed_by: float, *, speedup: float = 1.0, pairs: int = 5, spread: float = 2.0) -> Any:
    """A comparison of training runs."""
    return Handicap(
        slowed_by=slowed_by, outcome=made.compared(made.pairs(pairs, speedup, spread=spread))
    )


# ---- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "runs", "says"),
    [
        (GOOD, (), ""),
        (((0.0, 1.015), *GOOD[1:]), (), ""),
        (((0.0, 1.03), *GOOD[1:]), (), "a difference in an exact copy"),
        (((0.0, 0.97), *GOOD[1:]), (), "a difference in an exact copy"),
        ((*GOOD[:2], (0.05, 0.9995), (0.1, 0.9)), (), "did not find a copy slowed by 5%"),
        ((*GOOD[:3], (0.1, 1.0)), (), "did not find a copy slowed by 10%"),
        ((*GOOD[:3], (0.1, 1.2)), (), "did not find a copy slowed by 10%"),
        (GOOD[1:], (), "holds no A/A"),
        (GOOD[:3], (), "not the handicaps that are needed"),
        ((GOOD[0], (0.1, 0.9), (0.2, 0.8)), (), "not the handicaps that are needed"),
        ((), (), "holds no A/A"),
        (GOOD, (trial(0.0),), ""),
        (GOOD, (trial(0.0), trial(0.1, speedup=0.9, spread=0.5)), ""),
        (GOOD, (trial(0.0, speedup=1.2, spread=0.5),), "found an exact copy faster"),
        (GOOD, (trial(0.0, speedup=0.8, spread=0.5),), "found an exact copy slower"),
    ],
)
def test_what_a_calibration_must_show(found: Any, runs: Any, says: str) -> None:
    """A/A no difference, 5 and 10% found; 2% is only reported."""
    record = made.calibrated(found, runs)
    problem = gate_calibration.trouble(record)
    assert says in problem
    assert bool(says) == bool(problem)
    finding = gate_calibration.calibrated(Evidence(calibrated=record), Policy())
    assert finding.state == ("open" if says else "holds")
    assert says == "" or "run: kernel-lab calibrate-noise" in finding.detail


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Quarantined(reason="control_failed", detail="1.2x"), "control_failed: 1.2x"),
        (Failed(reason="timeout", detail="9 s"), "timeout: 9 s"),
        (Measured(cases=(), speedup=made.UNUSED, control=made.UNUSED), "no interval"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_a_bench_that_came_to_nothing_calibrates_nothing(
    outcome: Any, says: str, place: int
) -> None:
    """A machine too noisy to be measured is not thereby quiet."""
    good = made.calibrated(GOOD)
    benches = list(good.benches)
    benches[place] = Handicap(slowed_by=benches[place].slowed_by, outcome=outcome)
    record = made.calibrated(benches=tuple(benches))
    assert says in gate_calibration.trouble(record)
    assert gate_calibration.summary(record)
    assert describe(record)


def test_a_broken_aa_of_training_calibrates_nothing() -> None:
    """Then no A/B on this machine means anything either."""
    broken = Handicap(slowed_by=0.0, outcome=Broken(reason="arm_failed", detail="exit 1"))
    assert "exit 1" in gate_calibration.trouble(made.calibrated(GOOD, (broken,)))


# ---- the copies ----------------------------------------------------------------------------------


def loaded(text: str, name: str, folder: Path) -> Any:
    path = folder / f"{name}_{len(list(folder.iterdir()))}.py"
    path.write_text(text)
    return load_module(path)


def gradients(function: Any, *arguments: Any) -> list[torch.Tensor]:
    leaves = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    result = function(*arguments)
    parts = result if isinstance(result, tuple) else (result,)
    return [*parts, *torch.autograd.grad([p.sum() for p in parts], leaves)] if leaves else [*parts]


@pytest.mark.parametrize("target", sorted(discover()))
@pytest.mark.parametrize("make", [handicaps.slowed_op, handicaps.slowed_step])
def test_a_slowed_copy_computes_exactly_what_the_incumbent_does(
    target: str, make: Any, tmp_path: Path
) -> None:
    """Bit for bit and with its gradients, while it learns its time and after that."""
    folder = discover()[target]
    source = folder.incumbent("torch").read_text()
    slow = getattr(loaded(make(source, target, 0.05), target, tmp_path), target)
    incumbent = getattr(load_module(folder.incumbent("torch")), target)
    case = next(c for c in folder.target.cases(SMALL) if c.purpose == "odd")
    arguments: list[Any] = []
    for one in folder.target.inputs:
        shape = case.shape(one.shape)
        index = one.kind == "index"
        # positive, as a second moment is: of a negative one AdamW makes NaN, unequal to itself
        made_of = torch.zeros(shape, dtype=torch.int64) if index else torch.rand(shape)
        arguments.append(made_of.requires_grad_(one.differentiable and not index))
    arguments += folder.target.scalars_of(case.dims)
    for _ in range(12):
        found = gradients(slow, *arguments)
        expected = gradients(incumbent, *arguments)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class Clock:
    """A clock that only ever moves when it is asked, or told."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns


def test_an_op_is_slowed_by_the_share_of_forward_and_backward(tmp_path: Path) -> None:
    """The handicap must be true by construction, or finding it would prove nothing."""
    module = loaded(handicaps.slowed_op(TIMED, "timed", 0.05), "timed", tmp_path)
    clock = Clock()
    module._time, module.clock = clock, clock
    x = torch.ones(3, requires_grad=True)
    took = []
    for _ in range(8):
        start = clock.now_ns
        module.timed(x).sum().backward()
        took.append(clock.now_ns - start)
    assert took[0] == pytest.approx(1_000_000, abs=20)
    assert took[-1] == pytest.approx(1_050_000, abs=20)
    start = clock.now_ns
    with torch.no_grad():
        for _ in range(6):
            start = clock.now_ns
            module.timed(x)
    assert clock.now_ns - start == pytest.approx(300_000 * 1.05, abs=20)


TIMED = """
import torch

clock = None


class _Timed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        clock.now_ns += 300_000
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        clock.now_ns += 700_000
        return 2 * gradient


def timed(x):
    return _Timed.apply(x)
"""


def test_a_step_is_slowed_by_the_share_of_all_of_it(tmp_path: Path) -> None:
    """However often a step calls the op: what lies between two calls is stretched."""
    source = "def op(x):\n    return x\n"
    module = loaded(handicaps.slowed_step(source, "op", 0.10), "op", tmp_path)
    clock = Clock()
    module._time = clock
    x = torch.ones(1)
    ends = []
    for _ in range(10):
        for part_ns in (500_000, 20_000, 480_000):
            clock.now_ns += part_ns
            module.op(x)
        ends.append(clock.now_ns)
    steps = [later - earlier for earlier, later in itertools.pairwise(ends)]
    assert steps == pytest.approx([1_100_000] * 9, abs=20)


@pytest.mark.parametrize("target", sorted(discover()))
def test_copies_are_other_files_with_the_same_op(target: str) -> None:
    """Same bytes would be refused as the incumbent; the op must keep its name."""
    source = discover()[target].incumbent("torch").read_text()
    copy = handicaps.exact_copy(source)
    assert copy != source
    assert ast.dump(ast.parse(copy)) == ast.dump(ast.parse(source))
    assert handicaps.slowed_op(source, target, 0.0) == handicaps.slowed_step(source, target, 0.0)
    for text in (
        handicaps.slowed_op(source, target, 0.1),
        handicaps.slowed_step(source, target, 1),
    ):
        last = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
        assert target in [n.name for n in last]


# ---- the command ---------------------------------------------------------------------------------


class Machine:
    """Stands in for bench and A/B: sees every handicap as it is, unless told otherwise."""

    def __init__(self) -> None:
        self.benched: list[str] = []
        self.trained: list[tuple[str, int]] = []
        self.interrupt_at = -1

    def bench(self, candidate: Path, folder: Any, cases: Any, **settings: Any) -> Measured:
        text = candidate.read_text()
        assert folder.incumbent("torch").read_text() in text
        self.benched.append(text)
        if len(self.benched) == self.interrupt_at:
            raise KeyboardInterrupt
        return Measured(
            cases=(made.steady("train", 1 / (1 + share(text))),),
            speedup=made.UNUSED,
            control=made.UNUSED,
        )

    def compare(self, task: Any, settings: Any, pairs: int, **more: Any) -> Any:
        text = task.candidate.read_text()
        self.trained.append((task.op, pairs))
        return made.compared(made.pairs(pairs, 1 / (1 + share(text)), spread=0.5))


def share(text: str) -> float:
    """The handicap that a generated file says it has."""
    found = [line for line in text.splitlines() if line.startswith("_SLOWED_BY")]
    return float(found[0].split("=")[1]) if found else 0.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    stand_in = Machine()
    monkeypatch.setattr(lab.harness, "bench", stand_in.bench)
    monkeypatch.setattr(lab.ab, "compare", stand_in.compare)
    monkeypatch.setattr(trainer.data, "open_prepared", lambda name: None)
    return stand_in


@pytest.fixture
def here(tmp_path: Path) -> Lab:
    return Lab(places(tmp_path / "results", registry=tmp_path / "promoted.toml"), "cpu")


def run(here: Lab, plan: Plan, target: str = "rmsnorm", preset: str | None = None) -> Any:
    said: list[str] = []
    record = calibrate(here, plan, target=target, preset=preset, data="stdlib", say=said.append)
    assert "minutes" in said[0]
    return record


@pytest.mark.parametrize("plan", [Plan.quick(), Plan.full()])
def test_a_calibration_is_one_record_that_the_gate_takes(
    plan: Plan, here: Lab, machine: Machine
) -> None:
    """The short one must do for the gate, or nobody could afford it on a small machine."""
    assert "none" in doctor._calibration(here).detail
    record = run(here, plan)
    assert list(here.ledger.read()) == [record]
    assert [share(text) for text in machine.benched] == list(plan.benches)
    assert machine.trained == [(STEP_OP, pairs) for _, pairs in plan.runs]
    assert gate_calibration.trouble(record) == ""
    assert doctor._calibration(here).ok
    assert describe(record)


def test_the_exact_copy_and_the_slow_ones_are_told_in_training_too(
    here: Lab, machine: Machine
) -> None:
    """The full plan has the pairs to see 5% where runs scatter by half a percent."""
    record = run(here, Plan.full())
    found = {one.slowed_by: gate_calibration.found_in_training(one) for one in record.runs}
    assert found == {0.0: "undecided", 0.02: "slower", 0.05: "slower", 0.10: "slower"}


def test_ctrl_c_records_nothing(here: Lab, machine: Machine) -> None:
    """Half a calibration would pass for a whole one."""
    machine.interrupt_at = 2
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        calibrate(here, Plan.quick(), target="rmsnorm", preset=None, data="stdlib", say=said.append)
    assert list(here.ledger.read()) == []
    assert "nothing was recorded" in said[-1]


def test_bad_input_is_refused_before_anything_is_measured(
    here: Lab, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes of benches, and then a misspelt name?"""
    with pytest.raises(CommandError, match="rmsnorn"):
        run(here, Plan.quick(), target="rmsnorn")
    with pytest.raises(TrainerError, match="tuor"):
        run(here, Plan.quick(), preset="tuor")

    def missing(name: str) -> None:
        raise DataError(f"no {name}", "prepare it")

    monkeypatch.setattr(trainer.data, "open_prepared", missing)
    with pytest.raises(DataError):
        run(here, Plan.quick())
    assert machine.benched == []
