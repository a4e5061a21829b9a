"""Profiles the trainer: runs it under torch.profiler and turns the trace into a ranked record.

`profile(...)` starts `train.py --trace` in a process of its own, which after start-up and warm-up
times some plain steps and traces others. The trace says how a step divides among the ops;
the plain steps of the same run say how long a step takes. Nothing of the profiler's overhead and
nothing of start-up is in the result. The roofline is measured when the trainer has ended.

The trace stays in `workdir` (Perfetto opens it), as does the trainer's output. Judges nothing and
writes no ledger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab.errors import CommandError, LabError, MachineError, unknown
from lab.places import ROOT
from lab.profiling.attribution import Attribution, attribute
from lab.profiling.trace import read
from lab.progress import Progress, silent
from lab.records import Machine, Profiled

COVERED = 0.95
"""Less of the step than this under a name, and the profile says so."""
TIME_LIMIT_S = 3600.0
"""A trainer that has not ended by then is stopped."""
TAIL_LINES = 12
"""How much of the trainer's last words goes into an error."""
ERROR = "error: "
"""How the trainer begins a message of its own; the lines after it are the hint."""


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What the trainer writes beside its trace. Step times are milliseconds of wall clock."""

    plain_step_ms: tuple[float, ...]
    traced_step_ms: tuple[float, ...]
    ablated_step_ms: dict[str, tuple[tuple[float, float], ...]]
    """By op, steps with it and without it."""
    config: dict[str, Any]
    engine: str
    compute_dtype: str
    """Of the activations."""
    vocab: int

    @property
    def step_ms(self) -> float:
        """An ordinary step: the median of those without the profiler."""
        return statistics.median(self.plain_step_ms)

    @property
    def overhead(self) -> float:
        """How much longer a traced step takes: 0.05 is 5%."""
        return statistics.median(self.traced_step_ms) / self.step_ms - 1


def profile(
    engine: str,
    preset: str,
    data: str,
    *,
    steps: int,
    workdir: Path,
    machine: Machine,
    overrides: Mapping[str, Path] | None = None,
    registry: Path | None = None,
    config_flags: Sequence[str] = (),
    ablate: bool = False,
    progress: Progress = silent,
) -> Profiled:
    """The hot ops of `preset` on `engine`, from `steps` traced steps.

    `overrides` forces files on ops, `config_flags` are further flags of train.py; `ablate` has as
    many pairs of steps with and without each op. Raises `CommandError` for what train.py does not
    accept, `MachineError` if it fails.
    """
    _check(engine, preset, steps)
    workdir.mkdir(parents=True, exist_ok=True)
    flags = ["--engine", engine, "--preset", preset, "--data", data, "--no-compile"]
    flags += ["--registry", str(registry)] if registry else []
    for name, file in (overrides or {}).items():
        flags += ["--op", f"{name}={file}"]
    kept = workdir / f"{preset}-{engine}.trace.json"
    with tempfile.TemporaryDirectory(dir=workdir) as scratch:
        trace = Path(scratch) / "trace.json"
        flags += ["--trace", str(trace), "--trace-steps", str(steps)]
        flags += ["--ablate"] if ablate else []
        progress("training under the profiler", 0, 3)
        _train([*flags, *config_flags], workdir / f"{preset}-{engine}.log")
        progress("reading the trace", 1, 3)
        attribution = attribute(read(trace))
        meta = _read_sidecar(trace.with_name(trace.name + ".meta.json"))
        trace.replace(kept)
    progress("measuring this machine's roofline", 2, 3)
    profiled = assemble(attribution, meta, preset, machine)
    progress(_verdict(attribution, meta), 3, 3)
    return profiled


def _check(engine: str, preset: str, steps: int) -> None:
    from trainer.config import PRESETS
    from trainer.hardware import ENGINES

    if engine not in (*ENGINES, "auto"):
        raise unknown("engine", engine, (*ENGINES, "auto"))
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    if steps < 1:
        raise CommandError(f"{steps} traced steps are too few", "Trace at least one: --steps 5.")


def assemble(attribution: Attribution, meta: Sidecar, preset: str, machine: Machine) -> Profiled:
    """The record: shares of the traced steps, applied to the plain step."""
    from kernels.spec import discover
    from lab import roofline
    from lab.profiling.costs import step_work
    from lab.profiling.larger import larger_shares
    from lab.profiling.rank import rank
    from trainer.config import TrainConfig
    from trainer.hardware import framework

    rates = roofline.measure(meta.engine)
    computes_with = framework(meta.engine)
    folders = {n: f for n, f in discover().items() if f.incumbent(computes_with).is_file()}
    shares = attribution.shares
    larger = larger_shares(shares, folders)
    dtype = meta.compute_dtype
    config = msgspec.convert(meta.config, TrainConfig)
    calls = {share.op: share.calls for share in (*shares, *larger)}
    work = step_work(config, meta.vocab, roofline.ITEMSIZE[dtype], calls)
    ops, larger_ops = (
        rank(
            *(rows, work, rates, dtype),
            step_ms=meta.step_ms,
            targets=folders,
            ablation_ms=meta.ablated_step_ms,
        )
        for rows in (shares, larger)
    )
    return Profiled(
        machine=machine,
        engine=meta.engine,
        preset=preset,
        step_ms=meta.plain_step_ms,
        covered=attribution.covered,
        bandwidth_gb_s=rates.memory_gb_s,
        peak_gflop_s=rates.peak(dtype),
        ops=ops,
        larger=larger_ops,
    )


def load(path: Path) -> Profiled:
    """A profile that was written as JSON. Raises `CommandError` for anything else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profiled)
    except OSError as error:
        raise CommandError(
            f"cannot read the profile {path}: {error.strerror}",
            "Write one with: kernel-lab profile --output FILE",
        ) from error
    except msgspec.DecodeError as error:
        raise CommandError(
            f"{path} is not a profile: {error}",
            "Write one with: kernel-lab profile --output FILE",
        ) from error


def _verdict(attribution: Attribution, meta: Sidecar) -> str:
    """How far the numbers can be trusted, in one line."""
    covered = attribution.covered
    text = f"profiled: {covered:.1%} of the step has a name, the profiler adds {meta.overhead:.1%}"
    if covered < COVERED:
        largest = list(attribution.leftovers.items())[:3]
        missing = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in largest)
        text += f"; operators without a scope: {missing or 'none'}"
    return text


def _read_sidecar(path: Path) -> Sidecar:
    try:
        meta = msgspec.json.decode(path.read_bytes(), type=Sidecar)
    except (OSError, msgspec.DecodeError) as error:
        raise MachineError(
            f"the trainer left no usable {path.name}: {error}", "Run the profile again."
        ) from error
    if not meta.plain_step_ms or not meta.traced_step_ms:
        raise MachineError(f"{path} has no step times", "Run the profile again.")
    return meta


def _train(flags: Sequence[str], log: Path) -> None:
    """Runs train.py to its end, with its output in `log`. No child outlives this call."""
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = child.wait(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise MachineError(
                f"train.py had not ended after {TIME_LIMIT_S:.0f} s",
                f"Trace fewer steps or a smaller preset. Its output: {log}",
            ) from error
        finally:
            _kill_group(child)
    if status != 0:
        raise _failure(status, log)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and whatever it started, if it still runs: after Ctrl-C above all."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _failure(status: int, log: Path) -> LabError:
    """The trainer's own error as one of the lab's; exit code 2 blames the command."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
    if status in (2, 3) and said:
        message = lines[said[-1]].removeprefix(ERROR)
        hint = " ".join(line.strip() for line in lines[said[-1] + 1 :])
        return (CommandError if status == 2 else MachineError)(message, hint)
    how = f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"
    last = "\n".join(lines[-TAIL_LINES:]) or "it said nothing"
    return MachineError(f"train.py {how}:\n{last}", f"Its whole output: {log}")
