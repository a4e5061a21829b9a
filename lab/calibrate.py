"""`kernel-lab calibrate-noise`: what bench and A/B make, on this machine, of slow-downs we know.

    record = calibrate(lab, Plan.full(), target="rmsnorm", preset="tour", data="stdlib")

Sends an exact copy of the incumbent (the A/A) and copies slowed by 2, 5 and 10% through the very
bench and A/B that judge candidates, and appends what came out with all raw samples as one
`calibrated` record. What that is worth is the gate's rule `calibrated` (`lab.gate_calibration`).

In the bench the copy slows its own op. In training 10% of one op would be less than 1% of a step,
so there the copy stretches the whole step (`lab.harness.handicaps`). That goes through the op of
the optimizer, the only one that is never inside a compiled model; on mlx, where it is, the runs
are not compiled.

One session, one record: Ctrl-C or a failure leaves none. Never touches a workspace.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.context import DEFAULT_VOCAB, Lab, run_settings, running_file, target_folder
from lab.harness import handicaps
from lab.outcomes import Broken, Compared, Failed, Measured, Quarantined
from lab.progress import Progress, silent
from lab.records import Calibrated, Handicap

if TYPE_CHECKING:
    from kernels.spec import TargetFolder
    from lab.training_run import Settings

TARGET = {"mlx": "softcap_cross_entropy"}
"""Whose incumbent is copied unless told otherwise, by engine, else rmsnorm. On mlx a call of that
takes a tenth of a millisecond with `tour-mlx`, of which Python's own time is several percent."""
STEP_OP = "muon_orthogonalize"
STEPS = 20
EVAL_TOKENS = "16384"
BENCH_S, RUN_S = 45, 9
"""One bench and one training run of the tour preset, on two cores of a shared machine."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Which handicaps go through the bench, and which through the A/B with how many pairs."""

    benches: tuple[float, ...]
    runs: tuple[tuple[float, int], ...]

    @classmethod
    def full(cls) -> Plan:
        """Three slowed copies, and enough pairs to see 5% where runs scatter by 2%."""
        return cls((0.0, 0.02, 0.05, 0.10), ((0.0, 8), (0.02, 5), (0.05, 5), (0.10, 5)))

    @classmethod
    def quick(cls) -> Plan:
        """What the gate asks for: A/A of both stages, and the two copies that must be found."""
        return cls((0.0, 0.05, 0.10), ((0.0, 3),))

    @property
    def trainings(self) -> int:
        """Training runs: two of each pair, and one to audit the clock of each comparison."""
        return sum(2 * pairs + 1 for _, pairs in self.runs)


def calibrate(
    lab: Lab,
    plan: Plan,
    *,
    target: str | None,
    preset: str | None,
    data: str,
    progress: Progress = silent,
    say: Say = lambda text: None,
) -> Calibrated:
    """Runs the plan and appends its record. Takes minutes; says how many.

    Raises `CommandError` for an unknown target, `TrainerError` for an unknown preset or data that
    is not prepared, `MachineError` where the incumbent itself cannot be run.
    """
    from lab.harness import harness_sha256, isolation
    from lab.machine import fingerprint
    from trainer.data import open_prepared

    target = target or TARGET.get(lab.engine, "rmsnorm")
    folder, name = target_folder(target), lab.preset(preset)
    # compiled, mlx would trace a slowed copy once and never wait again
    settings = replace(
        run_settings(lab, name, data, STEPS, EVAL_TOKENS), compiled=lab.framework != "mlx"
    )
    open_prepared(data)  # what is missing must not come out after the benches
    minutes = (len(plan.benches) * BENCH_S + plan.trainings * RUN_S) / 60
    say(
        f"{len(plan.benches)} benches of {target} and {plan.trainings} training runs of {name}: "
        f"about {minutes:.0f} minutes for the tour preset on two cores. Leave the machine alone"
    )
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-lab-calibrate-") as scratch:
            benches = _benches(lab, plan, folder, name, Path(scratch), progress, say)
            runs = _runs(lab, plan, settings, Path(scratch), progress, say)
    except KeyboardInterrupt:
        say("interrupted: nothing was recorded, as a calibration is one session")
        raise
    record = Calibrated(
        machine=fingerprint(lab.engine),
        engine=lab.engine,
        harness_sha256=harness_sha256(),
        target=target,
        preset=name,
        isolation=isolation(),
        benches=benches,
        runs=runs,
    )
    return lab.ledger.append(record)


def _benches(
    lab: Lab,
    plan: Plan,
    folder: TargetFolder,
    preset: str,
    scratch: Path,
    progress: Progress,
    say: Say,
) -> tuple[Handicap, ...]:
    from lab import harness
    from trainer.config import preset as config_of
    from trainer.config import training_shape

    cases = folder.target.cases(training_shape(config_of(preset), DEFAULT_VOCAB))
    incumbent = running_file(folder, lab.engine, lab.places.registry)
    found = []
    for slowed_by in plan.benches:
        text = handicaps.slowed_op(incumbent.read_text(), folder.id, slowed_by, lab.framework)
        copy = scratch / f"bench-{slowed_by}.py"
        copy.write_text(text)
        started = time.monotonic()
        outcome = harness.bench(
            copy, folder, cases, engine=lab.engine, incumbent=incumbent, progress=progress
        )
        say(f"bench, {_words(slowed_by, outcome)}, {time.monotonic() - started:.0f} s")
        found.append(Handicap(slowed_by=slowed_by, outcome=outcome))
    return tuple(found)


def _runs(
    lab: Lab, plan: Plan, settings: Settings, scratch: Path, progress: Progress, say: Say
) -> tuple[Handicap, ...]:
    from lab import ab
    from lab.training_run import Task

    folder = target_folder(STEP_OP)
    incumbent = running_file(folder, lab.engine, lab.places.registry)
    found = []
    for slowed_by, pairs in plan.runs:
        text = handicaps.slowed_step(incumbent.read_text(), STEP_OP, slowed_by, lab.framework)
        copy = scratch / f"run-{slowed_by}.py"
        copy.write_text(text)
        task = Task(STEP_OP, lab.engine, copy, hashlib.sha256(text.encode()).hexdigest())
        started = time.monotonic()
        outcome = ab.compare(task, settings, pairs, progress=progress)
        took = time.monotonic() - started
        say(f"training, {pairs} pairs, {_words(slowed_by, outcome)}, {took:.0f} s")
        found.append(Handicap(slowed_by=slowed_by, outcome=outcome))
    return tuple(found)


def _words(slowed_by: float, outcome: Measured | Quarantined | Failed | Compared | Broken) -> str:
    from lab.report.numbers import ratio_text

    what = f"slowed by {slowed_by:.0%}" if slowed_by else "exact copy"
    if isinstance(outcome, Measured | Compared):
        return f"{what}: {ratio_text(outcome.speedup)}"
    return f"{what}: {outcome.reason}"
