"""Does a candidate compute inside the trainer what it computes in its workspace?

    checks = inspect(task, settings, scratch)      # raises `BehavesDifferently`

One more training run with the candidate, as long as those of the A/B and with the same command
line, records a few calls of the op at secret steps: what went in, came out, and came back. The
judge then evaluates the oracle on these inputs, and a worker the incumbent; the candidate's results
inside have to lie within the same bounds as in `verify`. Bits are not compared: threads and the
alignment of buffers differ between a trainer and a worker, and honest sums with them.

The run is not timed. The recording is written by the process that the candidate shares, so a
candidate that looks for the recorder, or forges what it wrote, is not found: see docs/ab.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.arm import train
from lab.harness import forms, inputs, oracle, tolerances, words
from lab.harness.appeal import Appeal, incumbent_blamed
from lab.harness.comparing import tensor_check
from lab.harness.recording import NotARecording, RecordedCall, Recording, load, parse
from lab.harness.session import Session
from lab.harness.worker_process import Patience
from lab.outcomes import TensorCheck
from lab.recordings import plan
from lab.training_run import Settings, Task, run_folder
from trainer.config import override, preset, training_shape
from trainer.data import open_prepared
from trainer.recording import FIRST_STEP

if TYPE_CHECKING:
    from kernels.spec import TargetFolder, TrainingShape

CALLS = 4
"""Recorded steps, one call each. Of candidates that cheat in every other call by chance, one in
sixteen gets through; more calls cost more of the oracle's time."""


class BehavesDifferently(Exception):
    """What the candidate computed inside is not what it should be; one line."""


def inspect(task: Task, settings: Settings, scratch: Path) -> list[TensorCheck]:
    """Trains once with the candidate and checks the recorded calls; none in a run of one step.

    Raises `BehavesDifferently`, or `ArmFailed` if the run fails.
    """
    from lab.context import target_folder

    steps = secret_steps(settings.steps)
    if not steps:
        return []
    folder, run = target_folder(task.op), run_folder(scratch)
    wanted = plan(run / "recorded", (task.op,), steps)
    seed = secrets.randbelow(2**31)
    train(task, settings, run, seed, settings.steps, True, wanted)
    file = wanted.folder / f"{task.op}.safetensors"
    try:
        recording = parse(load(file), folder, _shape(settings))
        _check_told(recording, task, steps)
    except NotARecording as problem:
        raise BehavesDifferently(f"its recorded calls cannot be used: {problem}") from problem
    return check(folder, recording.calls, task, settings)


def secret_steps(steps: int) -> tuple[int, ...]:
    """The steps of a run that are recorded; none in one too short."""
    possible = list(range(FIRST_STEP, steps + 1))
    return tuple(sorted(secrets.SystemRandom().sample(possible, min(CALLS, len(possible)))))


def check(
    folder: TargetFolder, calls: Sequence[RecordedCall], task: Task, settings: Settings
) -> list[TensorCheck]:
    """Every tensor of every call against the oracle. Raises `BehavesDifferently`."""
    from lab.context import running_file

    incumbent = running_file(folder, task.engine, settings.registry)
    arena = max(call.layout.slot_bytes for call in calls)
    with Session(incumbent, folder.id, task.engine, arena, Patience(), settings.hide) as honest:
        with incumbent_blamed(folder.id):
            honest.prepare()
        return [one for call in calls for one in _checked(folder, call, task.engine, honest)]


def _shape(settings: Settings) -> TrainingShape:
    """The sizes at which the runs call their ops."""
    names = [flag.removeprefix("--").replace("-", "_") for flag in settings.config[::2]]
    default = preset(settings.preset)
    changes: dict[str, object] = {
        name: type(getattr(default, name))(value)
        for name, value in zip(names, settings.config[1::2], strict=True)
    }
    return training_shape(override(default, changes), open_prepared(settings.data).vocab)


def _check_told(recording: Recording, task: Task, steps: Sequence[int]) -> None:
    """Whether the run says that it recorded what it was told to."""
    if recording.about.ops.get(task.op) != task.candidate_sha256:
        raise NotARecording(f"they are of another {task.op} than the candidate")
    if [call.step for call in recording.calls] != list(steps):
        raise NotARecording("they are of other steps than the judge chose")


def _checked(
    folder: TargetFolder, call: RecordedCall, engine: str, incumbent: Session
) -> Iterator[TensorCheck]:
    layout, differentiate = call.layout, call.layout.differentiable
    given = inputs.pack(layout, [call.content])
    right = oracle.evaluate(folder, call.content)
    with incumbent_blamed(folder.id):
        incumbent.arrange(layout, 1)
        honest = forms.exchange(incumbent, given, differentiate)
        forms.check_outputs(honest, layout, engine)
        if differentiate:
            forms.check_gradients(honest, layout, engine)
    appeal = Appeal(folder, layout, incumbent, differentiate)
    names = (*layout.output_names, *layout.gradient_names)
    spans = (*layout.outputs, *layout.gradients)
    for index, (name, span, found) in enumerate(zip(names, spans, call.results, strict=True)):
        if found is None:
            continue
        within = tolerances.bounds(right.tensors[index], honest.tensors(span)[0], span.dtype)
        where = f"inside the trainer, at step {call.step},"
        place = tolerances.not_finite(found, within)
        if place is not None:
            raise BehavesDifferently(f"{where} {words.not_finite(name, place)}")
        away = appeal.distance(call.content, index, found, within)
        if not away.ok:
            raise BehavesDifferently(f"{where} {words.too_far(name, away, span.dtype)}")
        yield tensor_check(f"inside_step_{call.step}", call.dtype, name, away, within)
