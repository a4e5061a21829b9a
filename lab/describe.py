"""Every record as text: what `lab.render.show` prints when no --json is given.

`describe` takes a value and returns rich renderables, in order; `lab.describe_answers` teaches it
the answers that are no records. Pure; prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from lab import outcomes as o
from lab import records as r
from lab.conditions import seen
from lab.paired import speedup
from lab.profiling import ablation
from lab.report.numbers import ratio_text


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Any:
    """A table whose headings starting with `>` are right-aligned."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        right = heading.startswith(">")
        made.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


@singledispatch
def describe(value: object) -> list[Any]:
    """What `show` prints for a value: strings and rich renderables, in order."""
    return [plain(str(value))]


def plain(text: str) -> Any:
    """Text as it stands, without markup."""
    from rich.text import Text

    return Text(text)


@describe.register
def _(value: tuple) -> list[Any]:
    return [part for item in value for part in describe(item)]


@describe.register
def _(value: r.Profiled) -> list[Any]:
    rows = [
        [
            str(rank),
            op.op,
            "in parts" if op in value.larger else "yes" if op.target else "",
            f"{op.share:.1%}",
            ablation.text(op),
            str(op.calls),
            f"{op.time_ms:.2f}",
            f"{op.forward_ms:.2f}",
            f"{op.backward_ms:.2f}",
            f"{op.bytes_moved / 1e6:.1f}",
            f"{op.flops / 1e9:.2f}",
            f"{op.roofline_ms:.2f}",
            f"{op.ceiling_removed:.3f}x",
            f"{op.ceiling_roofline:.3f}x",
        ]
        for rank, op in enumerate((*value.ops, *value.larger), 1)
    ]
    steps = sorted(value.step_ms)
    headings = (
        *(">#", "op", "target", ">share", ">ablated", ">calls"),
        *(">ms", ">forward", ">backward", ">MB"),
        *(">GFLOP", ">roofline ms", ">if gone", ">at roofline"),
    )
    return [
        plain(
            f"{value.preset} on {value.engine} ({value.machine.hardware}): a step takes "
            f"{steps[len(steps) // 2]:.1f} ms (median of {len(steps)}); named ops cover "
            f"{value.covered:.1%}. Measured here: {value.bandwidth_gb_s:.1f} GB/s, "
            f"{value.peak_gflop_s:.0f} GFLOP/s."
        ),
        table(headings, rows),
        plain(_how_measured(value)),
    ]


def _how_measured(value: r.Profiled) -> str:
    """Which number is which: the two ways to ask what an op costs."""
    fenced = value.engine == "mlx"
    how = "fences around the op" if fenced else "the profiler's scopes and autograd's numbers"
    text = f"share: of the step's time, by {how}."
    if any(op.ablation_ms for op in value.ops):
        pairs = max(len(op.ablation_ms) for op in value.ops)
        text += (
            f" ablated: of the step, gone when the op is free ({pairs} pairs, ± the 95% interval)."
        )
    return text


@describe.register
def _(value: r.Opened) -> list[Any]:
    return [plain(f"opened {value.workspace} (candidate {value.candidate_sha256[:12]})")]


def _failed(value: o.Failed, stage: str) -> list[Any]:
    where = f" ({value.case}, {value.dtype})" if value.case else ""
    said = plain(f"{stage}: FAILED: {value.reason}{where}\n  {value.detail}")
    return [said, *_simulated(value.simulated)]


def _simulated(value: o.Simulated | None) -> list[Any]:
    """What the Metal simulator ran and found."""
    if value is None:
        return []
    details = (f"  {each}" for each in (*value.traffic, *value.findings))
    return [plain(line) for line in (str(value), *details)]


@describe.register
def _(value: r.Verified) -> list[Any]:
    outcome = value.outcome
    if isinstance(outcome, o.Failed):
        return _failed(outcome, "verify")
    worst: dict[tuple[str, str], o.TensorCheck] = {}
    for check in outcome.checks:
        key = (check.tensor, check.dtype)
        if key not in worst or _used(check) > _used(worst[key]):
            worst[key] = check
    rows = [
        [
            tensor,
            dtype,
            c.case,
            f"{c.max_error:.2e}",
            f"{c.allowed_max:.2e}",
            f"{c.incumbent_max:.2e}",
            f"{_used(c):.0%}",
        ]
        for (tensor, dtype), c in worst.items()
    ]
    cases = len({c.case for c in outcome.checks})
    tier = "" if value.tier == "device" else f" ({value.tier.upper()})"
    return [
        plain(
            f"verify: passed{tier}, {cases} cases, {len(outcome.checks)} tensors; candidate "
            f"{value.candidate_sha256[:12]}, sandbox {value.isolation}"
            + ("" if outcome.deterministic else "; not deterministic")
            + ("" if outcome.recording else "; no calls recorded in training among them")
            + (f"; NO CHANGE: the {same} called again" if (same := outcome.no_change_of) else "")
        ),
        table(
            ("tensor", "type", "worst case", ">error", ">allowed", ">incumbent's", ">of allowed"),
            rows,
        ),
        *_simulated(outcome.simulated),
    ]


def _used(check: o.TensorCheck) -> float:
    """The larger share that a check uses of what it is allowed; 1 is the limit."""
    pairs = ((check.max_error, check.allowed_max), (check.rms_error, check.allowed_rms))
    return max((error / allowed if allowed else 0.0) for error, allowed in pairs)


@describe.register
def _(value: r.Benched) -> list[Any]:
    outcome = value.outcome
    if isinstance(outcome, o.Failed):
        return _failed(outcome, "bench")
    rows = [
        [
            c.case,
            c.dtype,
            f"{_median(c.incumbent_ms):.3f}",
            f"{_median(c.candidate_ms):.3f}",
            ratio_text(c.speedup),
            str(len(c.candidate_ms)),
            f"{c.floor_ms:.3f}",
        ]
        for c in outcome.cases
    ]
    shown = table(
        ("case", "type", ">incumbent ms", ">candidate ms", "speed-up", ">blocks", ">floor ms"), rows
    )
    workers = len({number for c in outcome.cases for number in c.generation}) or 1
    meanwhile = plain(f"generations of fresh workers: {workers}; {seen(outcome.cases)}")
    if isinstance(outcome, o.Quarantined):
        words = f"bench: QUARANTINED: {outcome.reason}\n  {outcome.detail}"
        return [plain(words), shown, meanwhile]
    return [
        plain(
            f"bench: {ratio_text(outcome.speedup)} against the incumbent; the control (incumbent "
            f"against itself) {ratio_text(outcome.control)}"
        ),
        shown,
        meanwhile,
    ]


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


@describe.register
def _(value: r.Tried) -> list[Any]:
    outcome = value.outcome
    rows = [
        [
            str(i),
            p.order,
            str(len(p.incumbent.turn_ms) or 1),
            f"{p.incumbent.step_ms:.2f}",
            f"{p.candidate.step_ms:.2f}",
            f"{speedup(p):.3f}x",
            f"{p.incumbent.val_bpb:.6f}",
            f"{p.candidate.val_bpb:.6f}",
            f"{p.candidate.val_bpb - p.incumbent.val_bpb:+.6f}",
        ]
        for i, p in enumerate(outcome.pairs, 1)
    ]
    headings = (
        *(">pair", "order", ">turns", ">incumbent ms", ">candidate ms", ">speed-up"),
        *(">incumbent bpb", ">candidate bpb", ">difference"),
    )
    shown = table(headings, rows)
    if isinstance(outcome, o.Broken):
        return [plain(f"ab: BROKEN: {outcome.reason}\n  {outcome.detail}"), shown]
    bpb = outcome.val_bpb
    return [
        plain(
            f"ab: step time {ratio_text(outcome.speedup)} over {len(outcome.pairs)} pairs of "
            f"{outcome.steps} steps; val_bpb {bpb.point:+.6f} [{bpb.low:+.6f}, {bpb.high:+.6f}]"
        ),
        shown,
    ]


@describe.register
def _(value: r.Judged) -> list[Any]:
    return [
        plain(f"verdict on {value.candidate_sha256[:12]}, record {value.id}"),
        *describe(value.verdict),
    ]


@describe.register
def _(value: r.Verdict) -> list[Any]:
    rows = [["yes" if x.holds else "NO", x.rule, x.detail] for x in value.reasons]
    return [plain(value.decision.upper()), table(("holds", "rule", "evidence"), rows)]


@describe.register
def _(value: r.Promoted) -> list[Any]:
    return [
        plain(
            f"promoted {value.candidate_sha256[:12]}: {value.target} on {value.engine}, "
            f"{value.machine.hardware}\n  {value.file}\n  The next training run uses it. "
            f"Take it back with: kernel-lab demote {value.target}"
        )
    ]


@describe.register
def _(value: r.Demoted) -> list[Any]:
    return [plain(f"demoted {value.candidate_sha256[:12]}: {value.target} on {value.engine}")]


def line(record: r.Line) -> str:
    """One record in one line: when, kind, what about, what came out."""
    kind = type(record).__struct_config__.tag
    words = [record.time_utc[:19], f"{kind:<9}"]
    if isinstance(record, r.About):
        words += [record.workspace, record.candidate_sha256[:12]]
    outcome = getattr(record, "outcome", None)
    if outcome is not None:
        words.append(str(type(outcome).__struct_config__.tag))
    if isinstance(outcome, o.Failed | o.Quarantined | o.Broken):
        words.append(outcome.reason)
    if isinstance(outcome, o.Measured | o.Compared):
        words.append(ratio_text(outcome.speedup))
    if isinstance(record, r.Judged):
        words.append(record.verdict.decision)
    if isinstance(record, r.Demoted):
        words += [record.target, record.candidate_sha256[:12], record.why]
    return " ".join(words)
