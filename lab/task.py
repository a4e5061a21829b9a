"""The text of TASK.md: all that the author of a candidate needs, and nothing of the judge's.

Shapes, types, costs, rules and commands, from the target and, where there is one, the profile.
"""

from __future__ import annotations

from kernels.spec import Case, Target, TargetFolder
from lab import task_metal
from lab.records import HotOp, Profiled
from lab.workspace import Seal

_ITEM_BYTES = {"float32": 4, "bfloat16": 2}


def write(seal: Seal, folder: TargetFolder, cases: tuple[Case, ...], hot: HotOp | None) -> str:
    """The whole of TASK.md as Markdown."""
    target = folder.target
    parts = [
        f"# {seal.name}",
        f"Make `{folder.id}` faster on `{seal.engine}`, in `{seal.language}`. {target.summary}",
        _interface(folder, target),
        *([task_metal.write(seal)] if seal.language == "metal" else []),
        _shapes(target, cases),
        _worth(hot, seal),
        _rules(folder.id),
        _commands(seal),
    ]
    return "\n\n".join(parts) + "\n"


def hot_op(profiled: Profiled | None, target: str) -> HotOp | None:
    """The row of `target` in a profile."""
    if profiled is None:
        return None
    return next((op for op in profiled.targets if op.op == target), None)


def _interface(folder: TargetFolder, target: Target) -> str:
    scalars = ", ".join(
        f"`{name}` = {value!r}" if value is not None else f"`{name}`, that of the case"
        for name, value in target.scalars.items()
    )
    lines = [
        "## Interface",
        f"`candidate.py` defines `{folder.id}{target.signature}`. Tensors arrive in this order:",
        "",
        "| argument | shape | type | gradient |",
        "|---|---|---|---|",
    ]
    for i in target.inputs:
        kind = "int64" if i.kind == "index" else "as the case"
        gradient = "yes" if i.differentiable else "no"
        lines.append(f"| `{i.name}` | [{', '.join(i.shape)}] | {kind} | {gradient} |")
    lines += ["", f"Then the scalars: {scalars}." if scalars else "There are no scalars.", ""]
    returns = "; ".join(
        f"`{o.name}` [{', '.join(o.shape)}], " + ("as the case" if o.dtype == "same" else "float32")
        for o in target.outputs
    )
    lines.append(f"It returns: {returns}.")
    if target.parts:
        lines.append(
            f"The trainer does this in parts now ({', '.join(target.parts)}). The bench compares "
            f"with `kernels/{folder.id}/incumbent_torch.py`, which does the same in one call; the "
            "A/B compares with the parts as they run in training."
        )
    lines.append(f"What is correct is decided by `kernels/{folder.id}/reference.py` in float64.")
    return "\n".join(lines)


def _shapes(target: Target, cases: tuple[Case, ...]) -> str:
    lines = [
        "## Shapes",
        f"Verified in {', '.join(target.dtypes)}; the `train` cases are also timed. Bytes and FLOPs"
        " are the least possible for one call in float32, forward and backward.",
        "",
        "| case | sizes | purpose | bytes | FLOPs |",
        "|---|---|---|---|---|",
    ]
    for case in cases:
        cost = target.cost(case.dims, _ITEM_BYTES["float32"])
        sizes = ", ".join(f"{name} {extent}" for name, extent in case.dims.items())
        lines.append(
            f"| {case.name} | {sizes} | {case.purpose} | {cost.bytes_moved:,} | {cost.flops:,} |"
        )
    return "\n".join([*lines, *_hidden(target)])


def _hidden(target: Target) -> list[str]:
    """That there are further shapes, and from which ranges; never which."""
    if not target.ranges:
        return []
    ranges = [f"`{name}` {allowed}" for name, allowed in target.ranges.items()]
    ranges += [f"`{name}` = {of} / {by}" for name, (of, by) in target.derived.items()]
    return [
        "",
        "Every verification also draws shapes that stand nowhere, new ones each time: odd, prime, "
        "one, powers of two and beside them, longer than a block. These sizes are legal, and a "
        f"candidate has to be right at all of them: {'; '.join(ranges)}.",
    ]


def _worth(hot: HotOp | None, seal: Seal) -> str:
    if hot is None:
        return (
            "## What it is worth\n"
            f"Not known yet. Run: `kernel-lab --engine {seal.engine} profile --preset "
            f"{seal.preset}`"
        )
    return (
        "## What it is worth\n"
        f"The incumbent takes {hot.time_ms:.2f} ms of a training step ({hot.share:.1%}: forward "
        f"{hot.forward_ms:.2f} ms, backward {hot.backward_ms:.2f} ms, {hot.calls} calls). This "
        f"machine's roofline for it is {hot.roofline_ms:.2f} ms. Bringing it there makes the step "
        f"{hot.ceiling_roofline:.3f}x faster; removing it, {hot.ceiling_removed:.3f}x."
    )


def _rules(target: str) -> str:
    return f"""## Rules
- Edit `candidate.py` only. It imports its framework and the standard library, nothing of this
  project; {target} keeps no state between calls.
- It is differentiable by its framework (for torch, a `torch.autograd.Function` or a custom op). A
  candidate that cuts the gradient fails.
- It never writes its inputs, nor changes their shape, strides or storage. Inputs may be strided.
- Inputs are normal, spiked, large, tiny, constant along rows, mostly zero, or with outlier
  channels; incoming gradients are normal, or tiny, heavy-tailed and mostly zero.
- The incumbent or the reference called again is no change: verify says so and bench refuses it.
- Error is measured against the float64 reference and compared with the incumbent's own error, per
  case, type, output and gradient.
- Write what you expect into `notes.md` before a run, and what came out after it."""


def _commands(seal: Seal) -> str:
    return f"""## Commands
```
kernel-lab verify {seal.name}     correct? every case, type and gradient
kernel-lab bench {seal.name}      faster? paired with the incumbent
kernel-lab ab {seal.name}         does training gain? paired runs, step time and val_bpb
kernel-lab gate {seal.name}       the verdict, with its reasons
kernel-lab promote {seal.name}    only after the verdict `promote`
```{task_metal.commands(seal)}"""
