"""What this machine can do, what is missing, and how to get it. Looks; changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec

from lab.context import Lab, latest_calibration
from lab.errors import LabError
from lab.isolation import NONE

LEDGER_BYTES = 2**26
"""Of a longer ledger only the end is verified: 0.1 s, where a million records take 7 s."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked for. `required` ones make `doctor` exit 3 when they are missing."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = False


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was looked for."""

    checks: tuple[Check, ...]

    @property
    def works(self) -> bool:
        """Whether everything that the lab cannot do without is there."""
        return all(check.ok for check in self.checks if check.required)


def examine(lab: Lab) -> Health:
    """Looks at everything. Takes a few seconds: the sandbox is really tried."""
    return Health(
        checks=(
            _machine(),
            *_engines(),
            *_accelerators(),
            _sandbox(),
            _compiler(),
            _simulator(),
            _data(),
            *_folders(lab),
            _ledger(lab),
            _calibration(lab),
            *_profilers(),
        )
    )


def _machine() -> Check:
    from lab.machine import memory_gib
    from trainer.hardware import usable_cores
    from trainer.system import cpu_model

    return Check(
        name="machine",
        ok=True,
        detail=f"{platform.system()} {platform.machine()}, {cpu_model()}, {usable_cores()} cores, "
        f"{memory_gib():.0f} GiB, Python {platform.python_version()}",
    )


def _engines() -> Iterator[Check]:
    from trainer.errors import EngineError
    from trainer.hardware import ENGINES, framework, hardware_key, resolve_engine

    for engine in ENGINES:
        name = framework(engine)
        try:
            resolve_engine(engine)
        except EngineError as error:
            missing = f"torch {version('torch')} sees no such device"
            yield Check(
                name=f"engine {engine}",
                ok=False,
                detail=missing if name == "torch" else error.message,
                fix=_DEVICES.get(engine, error.hint),
            )
        else:
            detail = f"{hardware_key(engine)}, {name} {version(name)}; tier: device"
            yield Check(name=f"engine {engine}", ok=True, detail=detail, required=engine == "cpu")


def _accelerators() -> Iterator[Check]:
    """What each engine computes on, and what to train there."""
    from lab.hardware import look
    from lab.proposal import propose

    for accelerator in look():
        engine = accelerator.engine
        yield Check(name=f"hardware {engine}", ok=True, detail=str(accelerator))
        proposal = propose(accelerator)
        yield Check(
            name=f"proposal {engine}",
            ok=proposal is not None,
            detail=f"{proposal.command}: {proposal.reason}"
            if proposal
            else "even the smallest preset is more than five minutes or the memory allow",
            fix="" if proposal else "Train a smaller model: --depth, --sequence.",
        )


_DEVICES = {
    "cuda": "Needs an NVIDIA GPU and its driver.",
    "mps": "Needs a Mac with Apple silicon.",
}


def _sandbox() -> Check:
    from lab.harness.sandbox import explain

    try:
        found = explain()
    except LabError as error:
        return Check(name="sandbox", ok=False, detail=error.message, fix=error.hint, required=True)
    if found.kind == NONE:
        detail = f"none, {found.reason}: candidates see the disk, and nothing promotes"
        return Check(name="sandbox", ok=False, detail=detail, fix="Go without only where you must.")
    return Check(name="sandbox", ok=True, detail=f"{found.name} ({found.reason})")


def _compiler() -> Check:
    found = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    return Check(
        name="C++ compiler",
        ok=found is not None,
        detail=found or "none: candidates that use torch.compile cannot run on the CPU",
        fix="" if found else "Install g++ or clang.",
    )


def _simulator() -> Check:
    from lab.metal_sim.compiler import find_compiler

    name = "Metal simulator"
    try:
        found = find_compiler()
    except LabError as error:
        return Check(name=name, ok=False, detail=error.message, fix=error.hint)
    detail = f"{found.version}; candidates in metal; tier: simulated"
    return Check(name=name, ok=True, detail=detail)


def _data() -> Check:
    from trainer.data import open_prepared
    from trainer.errors import TrainerError

    try:
        prepared = open_prepared("stdlib")
    except TrainerError as error:
        return Check(name="data", ok=False, detail=error.message, fix=error.hint)
    return Check(
        name="data", ok=True, detail=f"stdlib, vocabulary {prepared.vocab}, in {prepared.folder}"
    )


def _folders(lab: Lab) -> Iterator[Check]:
    folder = lab.places.results
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 2**30
    writable = os.access(folder, os.W_OK)
    yield Check(
        name="results",
        ok=writable and free_gib > 1,
        detail=f"{lab.places.results}, {free_gib:.0f} GiB free",
        fix="" if writable else "Name a folder you may write with --results.",
        required=True,
    )


def _ledger(lab: Lab) -> Check:
    if not Path(lab.places.ledger).exists():
        return Check(name="ledger", ok=True, detail="none yet: the first record starts it")
    try:
        report = lab.ledger.verify_end(LEDGER_BYTES)
    except LabError as error:
        return Check(name="ledger", ok=False, detail=error.message, fix=error.hint, required=True)
    what = f"chain {'intact' if report.ok else 'BROKEN'}"
    if report.unread:
        what += f" over the last {report.lines - report.unread}; for all: kernel-lab ledger verify"
    return Check(
        name="ledger",
        ok=report.ok,
        detail=f"{report.lines} records, {what}",
        fix="" if report.ok else "Run: kernel-lab ledger verify",
        required=True,
    )


def _calibration(lab: Lab) -> Check:
    from lab.gate_calibration import state

    try:
        record = latest_calibration(lab)
    except LabError as error:
        return Check(name="calibration", ok=False, detail=error.message, fix=error.hint)
    ok, detail = state(record)
    fix = "" if ok else f"Run: kernel-lab --engine {lab.engine} calibrate-noise"
    return Check(name="calibration", ok=ok, detail=detail, fix=fix)


def _profilers() -> Iterator[Check]:
    yield Check(name="profiler torch", ok=True, detail="torch.profiler, used by `profile`")
    for tool, package in (("nsys", "Nsight Systems"), ("ncu", "Nsight Compute")):
        path = shutil.which(tool)
        yield Check(
            name=f"profiler {tool}",
            ok=path is not None,
            detail=path or "not installed; only of use with an NVIDIA GPU",
            fix="" if path else f"Install NVIDIA {package}.",
        )
