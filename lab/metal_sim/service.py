"""The simulator as a process of its own: it runs the launches that a worker asks for.

    python -I -B -c START ROOT RECEIVE SEND REPORT PREPARED

It stands in a sandbox of its own, apart from the worker that runs the candidate's Python, so that
a candidate reaches it through launches alone and cannot change what it tells the judge. Kernels
compile here and run in children of this process (child.py). Every launch runs with all checks: the
first of its kind under every schedule, later ones under one that is drawn. A launch of the very
same bytes is answered from memory if there was no finding: the judge repeats calls.
After an error nothing runs any more. It knows no expected value, and decides nothing.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from lab.metal_sim.builds import Builds
from lab.metal_sim.errors import BadLaunch, KernelError, Unavailable
from lab.metal_sim.findings import Finding
from lab.metal_sim.kernel import Call
from lab.metal_sim.launch import Schedule
from lab.metal_sim.simulate import SCHEDULES, Report, simulate
from lab.metal_sim.wire import (
    HEADER,
    LONGEST,
    MAGIC,
    Broken,
    Found,
    Given,
    Launched,
    Reason,
    Reply,
    Request,
    payload_bytes,
    stored,
)

START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from lab.metal_sim.service import main; main()"
)
"""Run with -c: isolated Python has neither this folder nor the current one on its path."""
TIME_LIMIT_S = 10.0
"""CPU time of one run; candidates of this repository take 0.5 s at the largest case."""
MOST_KERNELS = 256
"""Different sources in one verification: each takes up to a second to compile, and memory."""
MOST_FINDINGS, LONGEST_MESSAGE, LONGEST_PROBLEM = 32, 400, 2000
MOST_TOLD = 3
KEPT_BYTES = 2**28
Answer: TypeAlias = tuple[Reply, list[np.ndarray], Launched]


class Service:
    """What it has seen of one candidate."""

    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        self._random = random.SystemRandom()
        self._kinds: set[bytes] = set()
        self._answers = _Answers()
        self._sources: set[tuple[str, str]] = set()
        self._stopped: Reply | None = None

    def answer(self, request: Request, payload: memoryview) -> Answer:
        """One launch: the reply, the outputs' elements, and what the judge is told."""
        if self._stopped is not None:
            return self._stopped, [], Launched(kernel=request.name)
        kind = msgspec.json.encode(request)
        key = hashlib.blake2b(kind + b"\0" + payload).digest()
        known = self._answers.get(key)
        if known is not None:
            return *known, Launched(kernel=request.name)
        try:
            self._count(request)
            call = request.call(payload)
            report = self._run(request, call, kind)
        except KernelError as error:
            return self._stop(request, "metal_source", error.message)
        except BadLaunch as error:
            said = error.message
            if f"'{request.name}'" not in said:
                said = f"Metal kernel '{request.name}': {said}"
            return self._stop(request, "metal_launch", said)
        except Unavailable as error:
            return self._stop(request, "unavailable", f"{error.message} {error.hint}".strip())
        told = _launched(request, call, report)
        if told.reason:
            self._stopped = Reply(reason=told.reason, problem=told.problem)
            return self._stopped, [], told
        outputs = [stored(array) for array in report.outputs or ()]
        described = tuple(
            Given(dtype=dtype, shape=array.shape)
            for dtype, array in zip(call.output_dtypes, outputs, strict=True)
        )
        reply = Reply(outputs=described)
        if not report.findings:
            self._answers.keep(key, reply, outputs)
        return reply, outputs, told

    def _count(self, request: Request) -> None:
        self._sources.add((request.header, request.source))
        if len(self._sources) > MOST_KERNELS:
            raise BadLaunch(
                f"over {MOST_KERNELS} different sources in one verification; pass sizes as "
                "template arguments or read them from NAME_shape."
            )

    def _run(self, request: Request, call: Call, kind: bytes) -> Report:
        schedules: Sequence[Schedule] = SCHEDULES
        if kind in self._kinds:
            drawn = self._random.choice(SCHEDULES)
            schedules = (Schedule(drawn.order, self._random.randrange(1, 2**31)),)
        self._kinds.add(kind)
        return simulate(
            request.kernel(),
            call,
            schedules=schedules,
            time_limit_s=TIME_LIMIT_S,
            builds=self._builds,
        )

    def _stop(self, request: Request, reason: Reason, problem: str) -> Answer:
        said = Reply(reason=reason, problem=problem[:LONGEST_PROBLEM])
        self._stopped = said
        return said, [], Launched(kernel=request.name, reason=said.reason, problem=said.problem)


class _Answers:
    """The latest answers, up to `KEPT_BYTES` of them."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Reply, list[np.ndarray]]] = {}
        self._bytes = 0

    def get(self, key: bytes) -> tuple[Reply, list[np.ndarray]] | None:
        return self._kept.get(key)

    def keep(self, key: bytes, reply: Reply, outputs: list[np.ndarray]) -> None:
        self._kept[key] = reply, outputs
        self._bytes += sum(array.nbytes for array in outputs)
        while self._bytes > KEPT_BYTES:
            _, oldest = self._kept.pop(next(iter(self._kept)))
            self._bytes -= sum(array.nbytes for array in oldest)


def _launched(request: Request, call: Call, report: Report) -> Launched:
    """What the judge is told of a launch that ran; errors are a reason to fail."""
    errors = report.of("error")
    problem = ""
    if errors or report.outputs is None:
        lines = "; ".join(str(each) for each in errors[:MOST_TOLD]) or "it did not end"
        more = f"; and {len(errors) - MOST_TOLD} more" if len(errors) > MOST_TOLD else ""
        problem = f"Metal kernel '{request.name}': {lines}{more}"[:LONGEST_PROBLEM]
    return Launched(
        kernel=request.name,
        runs=len(report.schedules),
        elements=max(map(math.prod, call.output_shapes), default=0),
        bytes_moved=report.device_bytes,
        bytes_least=call.bytes,
        findings=tuple(_found(each) for each in report.findings[:MOST_FINDINGS]),
        reason="metal_finding" if problem else "",
        problem=problem,
    )


def _found(finding: Finding) -> Found:
    return Found(
        kind=finding.kind,
        severity=finding.severity,
        message=finding.message[:LONGEST_MESSAGE],
        part=finding.part,
        line=finding.line,
        thread=finding.thread,
        times=finding.times,
    )


def main() -> None:
    """Answers launches until the worker hangs up."""
    receive, send, report = (int(given) for given in sys.argv[2:5])
    builds = Builds(Path.cwd() / "builds", prepared=Path(sys.argv[5]))
    service, decoder = Service(builds), msgspec.json.Decoder(Request, strict=True)
    try:
        while True:
            request = _request(receive, decoder)
            payload = _read(receive, payload_bytes(request))
            reply, outputs, told = service.answer(request, memoryview(payload))
            # Told first: once the worker has its answer, the judge may look.
            _write(report, msgspec.json.encode(told) + b"\n")
            body = msgspec.json.encode(reply)
            _write(send, HEADER.pack(MAGIC, len(body)) + body)
            for array in outputs:
                _write(send, array.reshape(-1).view(np.uint8).data)
    except Broken as error:
        _last_word(report, "protocol", f"sent the simulator {error}")
    except BadLaunch as error:  # refused unread, so there is no way to go on
        _last_word(report, "metal_launch", error.message)


def _last_word(report: int, reason: Reason, problem: str) -> None:
    told = Launched(kernel="", reason=reason, problem=problem[:LONGEST_PROBLEM])
    _write(report, msgspec.json.encode(told) + b"\n")


def _request(receive: int, decoder: msgspec.json.Decoder[Request]) -> Request:
    magic, length = HEADER.unpack(_read(receive, HEADER.size))
    if magic != MAGIC or length > LONGEST:
        raise Broken("bytes that are no request")
    try:
        return decoder.decode(_read(receive, length))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(f"no request: {error}") from None


def _read(descriptor: int, size: int) -> bytearray:
    """`size` bytes; the end of this process where the worker hung up."""
    found = bytearray(size)
    view = memoryview(found)
    while view:
        chunk = os.readv(descriptor, [view])
        if not chunk:
            sys.exit(0)
        view = view[chunk:]
    return found


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
