"""Traces made to order, in milliseconds, under today's category names or those of 2021."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from lab.profiling.trace import Trace, read

OLD = {
    "cpu_op": "Operator",
    "user_annotation": "Operator",
    "cuda_runtime": "Runtime",
    "kernel": "Kernel",
    "gpu_memcpy": "Memcpy",
}
MAIN, AUTOGRAD, STREAM = 100, 200, 7


class Events:
    """Collects events and writes them as a Kineto trace. All times are milliseconds."""

    def __init__(self, folder: Path, old: bool = False) -> None:
        self.path = folder / "trace.json"
        self.old = old
        self.events: list[dict[str, Any]] = []

    def span(
        self, name: str, start: float, end: float, cat: str = "cpu_op", tid: int = MAIN, **args: Any
    ) -> None:
        self.events.append(
            {
                "ph": "X",
                "cat": OLD.get(cat, cat) if self.old else cat,
                "name": name,
                "pid": 1,
                "tid": tid,
                "ts": start * 1000,
                "dur": (end - start) * 1000,
                "args": args,
            }
        )

    def step(self, start: float, end: float) -> None:
        self.span("step", start, end, "user_annotation")

    def scope(self, op: str, start: float, end: float, tid: int = MAIN) -> None:
        self.span(f"op:{op}", start, end, "user_annotation", tid)

    def operator(
        self, name: str, start: float, end: float, sequence: int | None = None, tid: int = MAIN
    ) -> None:
        numbers = {} if sequence is None else {"Sequence number": sequence, "Fwd thread id": 0}
        self.span(name, start, end, tid=tid, **numbers)

    def node(
        self, name: str, start: float, end: float, sequence: int | None = None, tid: int = MAIN
    ) -> None:
        """A node of the backward pass, as it appears: a span around a span."""
        numbers = {} if sequence is None else {"Sequence number": sequence, "Fwd thread id": 1}
        if not self.old:  # the outer span came with torch 1.9
            self.span(
                f"autograd::engine::evaluate_function: {name}", start, end, tid=tid, **numbers
            )
        self.span(name, start, end, tid=tid, **numbers)

    def kernel(
        self, launched: float, start: float, end: float, correlation: int, tid: int = MAIN
    ) -> None:
        """A launch on the host and the kernel that it started."""
        launch = launched + 0.001
        self.span(
            "cudaLaunchKernel", launched, launch, "cuda_runtime", tid, correlation=correlation
        )
        self.span("gemm", start, end, "kernel", STREAM, correlation=correlation)

    def write(self, compressed: bool = False) -> Path:
        data = json.dumps({"schemaVersion": 1, "traceEvents": self.events}).encode()
        self.path.write_bytes(gzip.compress(data) if compressed else data)
        return self.path

    def trace(self) -> Trace:
        return read(self.write())
