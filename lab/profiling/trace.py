"""Reads a Kineto trace (Chrome trace JSON, as torch.profiler writes it), as far as it is needed.

`read(path)` takes plain or gzipped JSON with today's category names (`cpu_op`, `kernel`, ...) or
those of 2021 (`Operator`, `Kernel`, ...). It decodes only the fields it needs, because a trace of a
few steps is tens of megabytes, and never asks torch for `key_averages` (seconds where this takes
tenths). It decides nothing about ops: see attribution.py.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab.errors import MachineError

SCOPES = {"user_annotation", "cpu_op", "Operator"}
"""Where scopes are filed: of their own today, among the operators in old traces."""
KINDS = {
    **dict.fromkeys(("cpu_op", "Operator"), "operator"),
    **dict.fromkeys(("cuda_runtime", "cuda_driver", "Runtime"), "launch"),
    **dict.fromkeys(("kernel", "gpu_memcpy", "gpu_memset"), "device"),
    **dict.fromkeys(("Kernel", "Memcpy", "Memset"), "device"),
}
"""What a category is, under today's name or that of 2021."""

EVALUATE = "autograd::engine::evaluate_function: "
"""What autograd puts before a node's name while it runs it."""
STEP = "step"
"""The scope around one optimizer step."""
SCOPE_PREFIX = "op:"
"""The scope around one op, before its name."""

Thread = tuple[int | str, int | str]
"""Process and thread, as the trace numbers them."""


class _Arguments(msgspec.Struct, gc=False):
    sequence: int | None = msgspec.field(name="Sequence number", default=None)
    forward_thread: int | None = msgspec.field(name="Fwd thread id", default=None)
    correlation: int | None = None


class Event(msgspec.Struct):
    """One event. `ts` and `dur` are microseconds; `ph` is X for a span, s for a flow's start."""

    ph: str = ""
    cat: str = ""
    name: str = ""
    pid: int | str = 0
    tid: int | str = 0
    ts: float = 0.0
    dur: float = 0.0
    id: int | str | None = None
    args: _Arguments | None = None

    @property
    def end(self) -> float:
        """When the span ends, microseconds."""
        return self.ts + self.dur

    @property
    def thread(self) -> Thread:
        """Where it ran."""
        return (self.pid, self.tid)

    @property
    def sequence(self) -> int | None:
        """Autograd's number: of the node that a forward op is about to make, or of a node run."""
        number = self.args.sequence if self.args else None
        return None if number is None or number < 0 else number

    @property
    def correlation(self) -> int | None:
        """What a launch and the device work that it started have in common."""
        return self.args.correlation if self.args else None

    @property
    def is_node(self) -> bool:
        """Whether this is a node of the backward pass (or, within it, the node's own function)."""
        if self.name.startswith(EVALUATE):
            return True
        return bool(self.args and self.args.forward_thread) or self.accumulates

    @property
    def accumulates(self) -> bool:
        """Whether this node adds a gradient to its parameter's `.grad`."""
        return self.name.endswith("AccumulateGrad")


class _File(msgspec.Struct):
    traceEvents: list[Event]


@dataclass(frozen=True)
class Launch:
    """Where and when the host launched a piece of device work."""

    thread: Thread
    ts: float


@dataclass(frozen=True)
class Trace:
    """The spans of a trace by what they are, each in order of time."""

    steps: tuple[Event, ...]
    scopes: tuple[Event, ...]
    """`op:...`; see `op_name`."""
    operators: tuple[Event, ...]
    device: tuple[Event, ...]
    """Kernels, copies and fills on a GPU."""
    launches: Mapping[int, Launch]
    """By correlation id."""


def op_name(scope: Event) -> str:
    """The op that a scope is about."""
    return scope.name.removeprefix(SCOPE_PREFIX)


def read(path: Path) -> Trace:
    """The trace in `path`. Raises `MachineError` for what is no whole trace."""
    return _sort(_decode(path))


def _decode(path: Path) -> list[Event]:
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except FileNotFoundError as error:
        raise MachineError(f"there is no trace at {path}", "Run the profile again.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise MachineError(
            f"the trace {path} cannot be read: {error}", "Run the profile again."
        ) from error
    try:
        return msgspec.json.decode(data, type=_File).traceEvents
    except msgspec.DecodeError:
        return _decode_leniently(path, data)


def _decode_leniently(path: Path, data: bytes) -> list[Event]:
    """Kineto does not escape every name: invalid UTF-8 and raw control characters do occur."""
    try:
        text = data.decode("utf-8", errors="replace")
        return msgspec.convert(json.loads(text, strict=False), _File, strict=False).traceEvents
    except (ValueError, msgspec.ValidationError) as error:
        raise MachineError(
            f"{path} is not a whole Kineto trace: {error}",
            "It was probably cut off while it was written: free some disk and run the profile "
            "again.",
        ) from error


def _sort(events: Iterable[Event]) -> Trace:
    """Files every event under what it is; the outer of two that start together comes first."""
    kinds: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        kinds[_kind(event)].append(event)
    for spans in kinds.values():
        spans.sort(key=lambda event: (event.ts, -event.dur))
    flows = {e.id: Launch(e.thread, e.ts) for e in kinds["flow"] if isinstance(e.id, int)}
    calls = {
        number: Launch(e.thread, e.ts)
        for e in kinds["launch"]
        if (number := e.correlation) is not None
    }
    return Trace(
        steps=tuple(kinds["step"]),
        scopes=tuple(kinds["scope"]),
        operators=tuple(kinds["operator"]),
        device=tuple(kinds["device"]),
        launches=flows | calls,
    )


def _kind(event: Event) -> str:
    if event.ph == "s" and event.cat == "ac2g":
        return "flow"
    if event.ph != "X":
        return ""
    if event.cat in SCOPES and event.name == STEP:
        return "step"
    if event.cat in SCOPES and event.name.startswith(SCOPE_PREFIX):
        return "scope"
    return KINDS.get(event.cat, "")
