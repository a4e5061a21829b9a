"""What training gives to an op and gets from it: recorded once, kept, and made again when stale.

    recording = provide(lab, seal, progress)

`provide` returns recorded calls of the workspace's target. They come from a short run of the
trainer with today's incumbents, in the sandbox of an A/B's arm (an incumbent may be promoted code).
One run records every target that the trainer calls by itself, another those that it does in parts,
which run as a whole for it. Each is kept under `results/recordings/`, in a folder named by the hash
of all that it depends on: preset, engine, hardware, data, op files, targets, the trainer's sources.
What is missing, damaged or was made for something else is made anew. A folder appears whole, by
renaming; the oldest are removed. No worker sees any of it. Judges nothing.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab.arm import train
from lab.errors import CommandError, MachineError
from lab.harness.identity import trainer_sha256
from lab.harness.recording import NotARecording, Recording, load, parse
from lab.progress import Progress, silent
from lab.training_run import ArmFailed, Task
from trainer.recording import Plan, Wanted

if TYPE_CHECKING:
    from kernels.spec import TargetFolder
    from lab.context import Lab
    from lab.workspace import Seal
    from trainer.data import Prepared

DATA = "stdlib"
"""Always there, without a download."""
STEPS = 9
RECORDED_STEPS = (2, 9)
"""Early, when most gradients are tiny, and at the end of the schedule, when the model has learned
the commonest tokens. Nothing before 2 (`trainer.recording.FIRST_STEP`)."""
KEPT = 4
"""Folders of at most 8 MiB per op."""
ABOUT = "about.json"


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a folder was made for, and the sha256 of its files by op."""

    key: dict[str, str]
    files: dict[str, str]


def provide(lab: Lab, seal: Seal, progress: Progress = silent) -> Recording:
    """The recorded calls of the seal's target. Raises `MachineError` if none can be made."""
    label = f"recording {STEPS} training steps of {seal.preset}"
    prepared = _prepared(progress)
    key = _key(lab, seal, prepared.data_sha256, prepared.tokenizer_sha256)
    digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    home = lab.places.recordings / f"{seal.preset}-{seal.engine}-{digest[:16]}"
    try:
        return read(home, key, seal, prepared.vocab)
    except NotARecording as problem:
        if home.exists():
            label = f"{label} again, as {problem}"
            shutil.rmtree(home, ignore_errors=True)
    progress(label, 0, 1)
    _keep(_trained(lab, seal, together(lab, seal)), key, home)
    progress(label, 1, 1)
    try:
        return read(home, key, seal, prepared.vocab)
    except NotARecording as problem:
        raise MachineError(
            f"the recording of the trainer's {seal.target} cannot be used: {problem}",
            "Verify without it (the gate then holds): kernel-lab verify WORKSPACE --no-recording",
        ) from problem


def read(home: Path, key: dict[str, str], seal: Seal, vocab: int) -> Recording:
    """The recording of the seal's target in a folder that was made for exactly `key`.

    Raises `NotARecording`.
    """
    from lab.context import target_folder
    from trainer.config import preset, training_shape

    try:
        made = msgspec.json.decode(load(home / ABOUT), type=Made)
    except msgspec.MsgspecError as error:
        raise NotARecording(f"{home.name}/{ABOUT} is damaged: {error}") from error
    stale = sorted(
        name for name in made.key.keys() | key.keys() if made.key.get(name) != key.get(name)
    )
    if stale:
        raise NotARecording(f"it is stale: it was made with another {', '.join(stale)}")
    data = load(home / f"{seal.target}.safetensors")
    if hashlib.sha256(data).hexdigest() != made.files.get(seal.target):
        raise NotARecording(f"{seal.target}.safetensors is damaged: its hash is another")
    shape = training_shape(preset(seal.preset), vocab)
    recording = parse(data, target_folder(seal.target), shape)
    os.utime(home)
    return recording


def plan(folder: Path, ops: tuple[str, ...], steps: tuple[int, ...]) -> Plan:
    """One call per op and step, chosen by chance."""
    calls = [Wanted(op, step, chance()) for op in ops for step in steps]
    return Plan(folder, tuple(calls))


def chance() -> float:
    """A secret number in [0, 1)."""
    return secrets.randbelow(2**32) / 2**32


def _prepared(progress: Progress) -> Prepared:
    """The data, prepared first where it is not yet."""
    from trainer.data import open_prepared
    from trainer.errors import DataError

    try:
        return open_prepared(DATA)
    except DataError:
        import prepare

        return prepare.prepare(DATA, progress=progress)


def _trained(lab: Lab, seal: Seal, names: tuple[str, ...]) -> dict[str, bytes]:
    """What a training run recorded, by op; plain files, not looked into yet."""
    from lab.context import run_settings

    settings = run_settings(lab, seal.preset, DATA, STEPS, "")
    nothing = Task("", seal.engine, Path(), "")
    with tempfile.TemporaryDirectory(prefix="kernel-lab-recording-") as scratch:
        run = Path(scratch) / "run"
        wanted = plan(run / "recorded", names, RECORDED_STEPS)
        try:
            train(nothing, settings, run, secrets.randbelow(2**31), STEPS, False, wanted)
            return {op: load(wanted.folder / f"{op}.safetensors") for op in names}
        except (ArmFailed, NotARecording) as problem:
            raise MachineError(
                f"the training run that is to be recorded failed: {problem}",
                "Run train.py by itself to see why, or verify without a recording (the gate then "
                "holds): kernel-lab verify WORKSPACE --no-recording",
            ) from problem


def _keep(files: dict[str, bytes], key: dict[str, str], home: Path) -> None:
    """Puts a whole folder in its place; the oldest go."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".new-") as beside:
        whole = Path(beside) / "whole"
        whole.mkdir()
        for op, data in files.items():
            (whole / f"{op}.safetensors").write_bytes(data)
        sha256 = {op: hashlib.sha256(data).hexdigest() for op, data in files.items()}
        (whole / ABOUT).write_bytes(msgspec.json.encode(Made(key=key, files=sha256)))
        try:
            whole.rename(home)
        except OSError:
            if not home.is_dir():  # else somebody else was quicker, and theirs is as good
                raise
    _prune(home)


def _prune(newest: Path) -> None:
    """Removes all but the folders that were used last."""
    folders = [f for f in newest.parent.iterdir() if f.is_dir() and not f.name.startswith(".")]
    for folder in sorted(folders, key=_used)[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0


def _targets(engine: str) -> dict[str, TargetFolder]:
    """Those that the engine's model has a seam for."""
    from kernels.spec import discover
    from trainer.hardware import framework

    folders = discover().items()
    return {name: f for name, f in folders if f.incumbent(framework(engine)).is_file()}


def together(lab: Lab, seal: Seal) -> tuple[str, ...]:
    """The targets that one run can record with the seal's: a larger op and what it contains are
    never called at the same places."""
    from trainer.hardware import hardware_key
    from trainer.ops import select

    folders, hardware = _targets(seal.engine), hardware_key(seal.engine)
    whole = {
        name: not select(folder, seal.engine, hardware, lab.places.registry).in_parts
        for name, folder in folders.items()
    }
    never = {
        part
        for name, folder in folders.items()
        for part, calls in folder.target.contains.items()
        if calls == "all" and whole[name]
    }
    if seal.target in never:
        raise CommandError(
            f"training never calls {seal.target}: a promoted op contains it",
            "See which: kernel-lab status. Take that promotion back with kernel-lab demote, or "
            "verify without a recording (the gate then holds): --no-recording",
        )
    wanted = whole[seal.target]
    return tuple(name for name in folders if whole[name] == wanted and name not in never)


def _key(lab: Lab, seal: Seal, data_sha256: str, tokenizer_sha256: str) -> dict[str, str]:
    """All that a recording depends on."""
    from lab.context import running_file
    from trainer.hardware import framework, hardware_key

    computes_with = framework(seal.engine)
    key = {
        "preset": seal.preset,
        "engine": seal.engine,
        "hardware": hardware_key(seal.engine),
        "steps": str((STEPS, RECORDED_STEPS)),
        "data": data_sha256,
        "tokenizer": tokenizer_sha256,
        computes_with: metadata.version(computes_with),
        "trainer": trainer_sha256(),
        "ops together": ",".join(together(lab, seal)),
    }
    for name, folder in _targets(seal.engine).items():
        file = running_file(folder, seal.engine, lab.places.registry)
        key[f"op {name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
        key[f"target {name}"] = folder.sha256
    return key
