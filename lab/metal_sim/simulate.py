"""The simulator's front door: a kernel and a call in, outputs and findings out.

    kernel = MetalKernel("exp", ("inp",), ("out",), SOURCE)
    report = simulate(kernel, checked_call(kernel, inputs=[array], ...))
    report.passed, report.outputs, report.findings

In "check" mode every memory access is looked at and the kernel runs under several schedules. In
"fast" mode it runs once, and only writes beside a buffer, faults and time-outs are seen. Numbers
are a CPU's: what passes has been checked on a CPU and has not run on Metal. Nothing here times a
kernel, and a report holds no speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lab.metal_sim import compare
from lab.metal_sim.builds import Build, Builds
from lab.metal_sim.dtypes import Array, as_array, as_output
from lab.metal_sim.errors import Diagnostic, KernelError
from lab.metal_sim.findings import KINDS, Finding, told
from lab.metal_sim.kernel import Call, MetalKernel
from lab.metal_sim.launch import Counts, Run, Schedule, Traffic, launch
from lab.metal_sim.memory import Buffer, buffers
from lab.metal_sim.source import CONSTANT_BELOW, generate
from lab.metal_sim.translate import executable, refused_words, strict_diagnostics

Mode: TypeAlias = Literal["check", "fast"]
SCHEDULES = (
    Schedule("in_order"),
    Schedule("reverse"),
    Schedule("random"),
    Schedule("preempting"),
)
POISON, OTHER_POISONS = 0xFF, (0x7B, 0xFB)
"""What stands where nothing was written: as floats NaN, 1.3e36 and -1.3e36, since a maximum may
ignore the first and third and a minimum the first and second."""
TIME_LIMIT_S = 20.0
"""CPU time of one run; the largest kernels of this repository take 2 s."""


@dataclass(frozen=True, eq=False)
class Report:
    """What came out. `outputs` is None where the first run did not come to its end."""

    outputs: tuple[Array, ...] | None
    findings: tuple[Finding, ...]
    mode: Mode
    schedules: tuple[str, ...]
    traffic: tuple[Traffic, ...]
    device_bytes: int
    """Of the traffic, what is device memory: numbers, shapes and inputs of fewer than eight
    elements are constant memory, which every thread reads and no GPU fetches for each."""
    counts: Counts
    threadgroup_bytes: int
    cached: bool

    @property
    def passed(self) -> bool:
        """It ran to its end and no finding is an error."""
        return self.outputs is not None and not self.of("error")

    def of(self, severity: str) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)


@dataclass(frozen=True, eq=False)
class _Launcher:
    """One compiled kernel with its buffers, to be run several times."""

    build: Build
    builds: Builds
    call: Call
    given: tuple[Buffer, ...]
    checked: bool
    time_limit_s: float

    def run(self, schedule: Schedule, poison: int = POISON) -> Run:
        return launch(
            self.build,
            self.builds.runtime,
            self.call,
            self.given,
            schedule,
            checked=self.checked,
            poison=poison,
            time_limit_s=self.time_limit_s,
        )


def simulate(
    kernel: MetalKernel,
    call: Call,
    *,
    mode: Mode = "check",
    schedules: Sequence[Schedule] = SCHEDULES,
    time_limit_s: float = TIME_LIMIT_S,
    builds: Builds | None = None,
) -> Report:
    """Compiles and runs a kernel. `KernelError` where it does not compile, `Unavailable` where this
    machine can do neither."""
    builds = builds or Builds()
    checked = mode == "check"
    build = compiled(kernel, call, builds, checked=checked)
    given = buffers(kernel, call, generate(kernel, call))
    launcher = _Launcher(build, builds, call, given, checked, time_limit_s)
    runs: list[Run] = []
    for schedule in schedules if checked else schedules[:1]:
        runs.append(launcher.run(schedule))
        if not runs[-1].ended:
            break
    findings = [*compare.limits_broken(build.image), *_findings(launcher, runs)]
    if all(run.ended for run in runs):
        findings += compare.schedule_faults(kernel, call, runs)
    names = zip(call.output_dtypes, runs[0].outputs, strict=True)
    return Report(
        outputs=tuple(as_output(*pair) for pair in names) if runs[0].ended else None,
        findings=_ordered(findings),
        mode=mode,
        schedules=tuple(run.schedule.order for run in runs),
        traffic=runs[0].traffic if checked else (),
        device_bytes=_device_bytes(kernel, call, runs[0].traffic) if checked else 0,
        counts=runs[0].counts,
        threadgroup_bytes=build.image.threadgroup_bytes,
        cached=build.cached,
    )


def _device_bytes(kernel: MetalKernel, call: Call, traffic: Sequence[Traffic]) -> int:
    inputs = zip(kernel.input_names, call.inputs, strict=True)
    device = {name for name, given in inputs if as_array(given)[1].size >= CONSTANT_BELOW}
    device.update(kernel.output_names)
    return sum(each.bytes_read + each.bytes_written for each in traffic if each.buffer in device)


def compiled(kernel: MetalKernel, call: Call, builds: Builds, *, checked: bool = True) -> Build:
    """The kernel for one call's dtypes, shapes and template; nothing of it is run."""
    source = generate(kernel, call)
    refused = refused_words(source)
    if refused:
        raise KernelError(kernel.name, refused)
    build = builds.kernel(kernel.name, executable(source), checked=checked)
    wrong = strict_diagnostics(builds, source)
    if wrong:
        raise KernelError(kernel.name, wrong)
    expected = 1 if checked else 0  # thread sanitizer's own, which calls our empty __tsan_init
    if build.image.constructors > expected:
        message = "code that runs before the kernel starts is not part of Metal"
        raise KernelError(kernel.name, (Diagnostic("kernel", 0, 0, message),))
    return build


def _findings(launcher: _Launcher, runs: Sequence[Run]) -> list[Finding]:
    masked = _masked(launcher, runs)
    path, image = launcher.build.path, launcher.build.image
    listed: list[Finding] = []
    for run in runs:
        for raw in run.findings:
            listed.append(
                told(
                    raw,
                    schedule=run.schedule.order,
                    masked=(raw.kind, raw.place) in masked,
                    path=path,
                    image=image,
                    given=launcher.given,
                )
            )
        listed += compare.run_faults(run)
    return listed


def _masked(launcher: _Launcher, runs: Sequence[Run]) -> set[tuple[int, int]]:
    """Kind and place of the first run's findings, if every output of it stays as it is with other
    bytes where nobody wrote any."""
    first = runs[0]
    kinds = (KINDS[raw.kind] for raw in first.findings)
    if not first.ended or not any(kind.masked != kind.severity for kind in kinds):
        return set()
    for poison in OTHER_POISONS:
        if not compare.same_outputs(first, launcher.run(first.schedule, poison)):
            return set()
    return {(raw.kind, raw.place) for raw in first.findings}


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Gravest first; one of each kind and line, the first schedule that showed it so grave."""
    rank = {"error": 0, "warning": 1, "note": 2}
    kept: dict[tuple[str, str, int, str], Finding] = {}
    for finding in sorted(findings, key=lambda finding: rank[finding.severity]):
        known = finding.message if not finding.line else ""
        kept.setdefault((finding.kind, finding.part, finding.line, known), finding)
    return tuple(kept.values())
