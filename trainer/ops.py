"""The op seam: the one place that decides which implementation of each op a run uses, and why.

The model is built with a table of ops and calls nothing else for them. An op is the incumbent of
its target's folder, a promoted candidate (`promoted.toml`), or a file forced by `--op NAME=FILE`.
An automatic choice that cannot be honoured (a promoted file that is gone or was edited) falls back
to the incumbent aloud; a forced one raises.

A larger op (a target with `parts`) is left to its parts until an implementation of it is promoted
or forced. Then it runs wherever the trainer has that work, and the targets that it contains are
not called there: what was let in as a whole was faster in training than the parts of that day. The
line of each contained op says so, and forcing one that would never be called raises. The hash of
an op in parts covers its incumbent file and those of the ops it contains, so that evidence against
older parts no longer counts.

Candidate code runs in this process: that is what a training run is for. The judge never calls this.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kernels.spec import TargetFolder, discover, load_module
from trainer.errors import EngineError, UsageError, unknown
from trainer.hardware import framework

REGISTRY = Path(__file__).resolve().parent / "promoted.toml"


@dataclass(frozen=True)
class Op:
    """One op of a run: what is called, the sha256 of its file, and why this one."""

    name: str
    function: Callable[..., Any]
    sha256: str
    path: Path
    reason: str
    in_parts: bool = False
    """Whether the trainer does this work in the target's parts and does not call the function."""


@dataclass(frozen=True)
class Promotion:
    """One entry of a registry: a candidate that the gate let in on this engine and hardware."""

    op: str
    engine: str
    hardware: str
    candidate_sha256: str
    file: str
    """Relative to the registry's folder."""
    ledger_ids: tuple[str, ...] = ()


class Selected(NamedTuple):
    """The file chosen for an op, why, and whether the trainer does the op in its parts instead."""

    path: Path
    reason: str
    in_parts: bool


class OpTable(Mapping[str, Op]):
    """The ops of a run by name. `table.rmsnorm(x, eps)` calls the chosen function."""

    def __init__(self, ops: Mapping[str, Op]) -> None:
        self._ops = dict(ops)
        for name, op in self._ops.items():
            setattr(self, name, op.function)

    def __getitem__(self, name: str) -> Op:
        return self._ops[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ops)

    def __len__(self) -> int:
        return len(self._ops)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(f"no op '{name}' in this table; it has {', '.join(self._ops)}")

    def whole(self, name: str) -> Callable[..., Any] | None:
        """The function of a larger op; None while the trainer does its work in its parts."""
        return None if self._ops[name].in_parts else self._ops[name].function

    def lines(self) -> list[str]:
        """The op table as printed by a run: name, first 12 digits of the hash, reason."""
        width = max(map(len, self._ops), default=0)
        return [f"op {n:<{width}} {op.sha256[:12]} {op.reason}" for n, op in self._ops.items()]


def read_registry(path: Path = REGISTRY) -> tuple[Promotion, ...]:
    """The promotions in `path`, none where it does not exist. Raises `UsageError` if malformed."""
    if not path.is_file():
        return ()
    try:
        entries = tomllib.loads(path.read_text()).get("promotion", [])
        return tuple(
            Promotion(**{**e, "ledger_ids": tuple(e.get("ledger_ids", ()))}) for e in entries
        )
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a promotion registry: {error}") from error


def resolve(
    engine: str,
    hardware: str,
    overrides: Mapping[str, Path] | None = None,
    registry: Path = REGISTRY,
) -> OpTable:
    """Chooses an implementation for every target that has an incumbent in the engine's framework;
    its model has no seam for the others.

    `overrides` maps an op to the file that is forced on it. Raises `UsageError` for an op that does
    not exist and `EngineError` for a forced file that cannot be loaded.
    """
    overrides = overrides or {}
    folders = {n: f for n, f in discover().items() if f.incumbent(framework(engine)).is_file()}
    for name in overrides:
        if name not in folders:
            raise unknown("op", name, folders)
    table = {}
    for name, folder in folders.items():
        if name in overrides:
            table[name] = _forced(name, overrides[name])
        else:
            op = _load(name, *select(folder, engine, hardware, registry))
            if op.in_parts:
                op = replace(op, sha256=incumbent_sha256(folder, engine, hardware, registry))
            table[name] = op
    for name, folder in folders.items():
        if not table[name].in_parts:
            _take_precedence(name, folder.target.contains, table, overrides)
    return OpTable(table)


def _take_precedence(
    whole: str,
    contains: Mapping[str, Literal["all", "some"]],
    table: dict[str, Op],
    overrides: Mapping[str, Path],
) -> None:
    """Says of the ops that `whole` contains that they are not called inside it."""
    for part, calls in contains.items():
        if calls == "all" and part in overrides:
            raise UsageError(
                f"--op {part} would never be called: {whole} contains it and is "
                f"{table[whole].reason}",
                f"Leave out one of the two, or take the promotion back: kernel-lab demote {whole}",
            )
        where = "never called" if calls == "all" else "not called there"
        reason = f"{table[part].reason}; {where}: {whole} contains it"
        table[part] = replace(table[part], reason=reason)


def _load(name: str, path: Path, reason: str, in_parts: bool = False) -> Op:
    data = path.read_bytes()
    function = getattr(load_module(path), name)
    sha256 = hashlib.sha256(data).hexdigest()
    return Op(name, function, sha256, path, reason, in_parts)


def _forced(name: str, path: Path) -> Op:
    try:
        return _load(name, path, "forced by --op")
    except Exception as error:  # whatever a candidate's file raises: it was asked for by name
        raise EngineError(
            f"op '{name}' was forced to {path}, which cannot be loaded: "
            f"{type(error).__name__}: {error}",
            f"The file must define a function named {name}.",
        ) from error


def select(
    folder: TargetFolder,
    engine: str,
    hardware: str,
    registry: Path = REGISTRY,
) -> Selected:
    """The file that a run uses for this op when none is forced, and why. Loads nothing."""
    incumbent = folder.incumbent(framework(engine))
    in_parts = bool(folder.target.parts)
    default = "in parts" if in_parts else "incumbent"
    key = (folder.id, engine, hardware)
    promotion = next(
        (p for p in read_registry(registry) if (p.op, p.engine, p.hardware) == key), None
    )
    if promotion is None:
        return Selected(incumbent, default, in_parts)
    path = (registry.parent / promotion.file).resolve()
    short = promotion.candidate_sha256[:12]
    if not path.is_file():
        return Selected(incumbent, f"{default} (promoted {short}: file is gone)", in_parts)
    if hashlib.sha256(path.read_bytes()).hexdigest() != promotion.candidate_sha256:
        return Selected(incumbent, f"{default} (promoted {short}: file was edited)", in_parts)
    return Selected(path, f"promoted {short}", in_parts=False)


def incumbent_sha256(
    folder: TargetFolder,
    engine: str,
    hardware: str,
    registry: Path = REGISTRY,
) -> str:
    """Identifies what a run does for this op when none is forced: the hash of the selected file.

    In parts, the hash of the incumbent file's and those of the contained ops.
    """
    selected = select(folder, engine, hardware, registry)
    sha256 = hashlib.sha256(selected.path.read_bytes()).hexdigest()
    parts = folder.target.contains if selected.in_parts else ()
    if not parts:
        return sha256
    folders = discover(folder.path.parent)
    ours = [incumbent_sha256(folders[p], engine, hardware, registry) for p in parts]
    return hashlib.sha256("".join([sha256, *ours]).encode()).hexdigest()
