"""Calls of an op that a training run recorded: read, checked against the target, varied in secret.

    recording = parse(load(path), folder, shape)   # raise `NotARecording`, with what is wrong
    call = recording.calls[0]
    call.case, call.layout, call.content       # as any other case of the target has
    call.varied(generator)                     # what a worker is shown

A file may come from a process in which a candidate ran: nothing in it is believed beyond its form.
It is parsed as safetensors and strict JSON, and nothing of it is executed.

Why a worker is never shown a recorded call as it is: the recording is the same at every verify. So
the parts along the target's independent dim (sequences, tokens, matrices) come in a secret order,
every float is moved by up to two spacings, and the incoming gradients are multiplied by a secret
factor between 1/2 and 2. The first changes the answer everywhere but not its statistics, the second
every bit of the content, the third the answer of the backward pass where there is a single part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from kernels.spec import Case, TargetFolder, TrainingShape
from lab.harness import inputs, variations
from lab.harness.inputs import Content, Layout
from lab.harness.protocol import Span
from lab.plain_files import open_plain
from trainer.recording import FORMAT

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator

LONGEST_FILE = 2**28
"""Bytes. What the trainer writes is cut to 4 MiB per call."""
Placed = TypeVar("Placed", bound=Span)


class NotARecording(Exception):
    """What is wrong with the file, in one line."""


class CallAbout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the trainer says of one call; see `trainer.recording.Record`."""

    step: int
    number: int
    calls: int
    part: tuple[int, int, int]
    scalars: tuple[float, ...]
    strides: dict[str, tuple[int, ...]]


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the trainer says of the run."""

    format: int
    op: str
    preset: str
    engine: str
    vocab: int
    data_sha256: str
    tokenizer_sha256: str
    steps: int
    ops: dict[str, str]
    calls: tuple[CallAbout, ...]


@dataclass(frozen=True)
class RecordedCall:
    """One call of the op in training, or a part of it: what went in, what came out and back."""

    step: int
    case: Case
    dtype: str
    layout: Layout
    """That of the case, with the order of axes that the tensors had in training."""
    content: Content
    outputs: tuple[torch.Tensor, ...]
    gradients: tuple[torch.Tensor | None, ...]
    """None for a sum over all parts of a call of which not all parts were kept."""
    parts: int
    """The extent of the independent dim; 1 without one."""
    axes: tuple[int | None, ...]
    """For each input and incoming gradient, which axis is the independent dim, if any."""

    @property
    def results(self) -> tuple[torch.Tensor | None, ...]:
        """Outputs first, then gradients, as `oracle.Expected.tensors`."""
        return (*self.outputs, *self.gradients)

    def varied(self, random: Generator) -> Content:
        """The content as a worker sees it: parts in a secret order, nudged, gradients scaled."""
        import torch

        order = torch.from_numpy(random.permutation(self.parts))
        given = [
            tensor if axis is None else tensor.index_select(axis, order)
            for tensor, axis in zip(self._given, self.axes, strict=True)
        ]
        factor = 2.0 ** random.uniform(-1.0, 1.0)
        count = len(self.content.inputs)
        incoming = [(t.double() * factor).to(t.dtype) for t in given[count:]]
        scalars = self.content.scalars
        return variations.nudged(Content(tuple(given[:count]), tuple(incoming), scalars), random)

    @cached_property
    def _given(self) -> tuple[torch.Tensor, ...]:
        return (*self.content.inputs, *self.content.incoming)


@dataclass(frozen=True)
class Recording:
    """All recorded calls of one op in one run; `sha256` is that of the file."""

    sha256: str
    about: About
    calls: tuple[RecordedCall, ...]


def parse(data: bytes, folder: TargetFolder, shape: TrainingShape) -> Recording:
    """The recording in a file's content: of this target, at the sizes of `shape`."""
    about = _about(data)
    if about.format != FORMAT:
        raise NotARecording(f"it has format {about.format}, this version reads {FORMAT}")
    if about.op != folder.id:
        raise NotARecording(f"it is a recording of {about.op}, not of {folder.id}")
    tensors = _tensors(data)
    calls = tuple(
        _call(folder, shape, call, _numbered(tensors, number))
        for number, call in enumerate(about.calls)
    )
    if not calls:
        raise NotARecording("it holds no calls")
    return Recording(hashlib.sha256(data).hexdigest(), about, calls)


def load(path: Path) -> bytes:
    """A file's content. A link is not followed: whoever wrote it may not read what we may."""
    try:
        with open_plain(path) as stream:
            data = stream.read(LONGEST_FILE + 1)
    except OSError as error:
        raise NotARecording(f"it cannot be read: {error.strerror or error}") from error
    if len(data) > LONGEST_FILE:
        raise NotARecording(f"it is larger than {LONGEST_FILE} bytes")
    return data


def _about(data: bytes) -> About:
    """The metadata: safetensors begin with the length of a JSON header and the header itself."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return msgspec.json.decode(header["__metadata__"]["recording"], type=About)
    except (ValueError, KeyError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise NotARecording(f"it is damaged: {error!r:.200}") from error


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise NotARecording(f"it is damaged: {error!r:.200}") from error


def _numbered(tensors: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    prefix = f"{number}."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _call(
    folder: TargetFolder, shape: TrainingShape, about: CallAbout, tensors: dict[str, torch.Tensor]
) -> RecordedCall:
    target = folder.target
    first = next(i.name for i in target.inputs if i.kind == "float" and i.dtype == "same")
    dtype = str(_named(tensors, f"input.{first}").dtype).removeprefix("torch.")
    if dtype not in target.dtypes:
        raise NotARecording(f"{first} has dtype {dtype}, {folder.id} is judged in {target.dtypes}")
    case = _case(folder, shape, about, tensors)
    layout = Layout.of(target, case, dtype)
    leaves = [i for i in target.inputs if inputs.is_leaf(i)]
    given = [f"input.{i.name}" for i in target.inputs]
    incoming = [f"incoming.{o.name}" for o in target.outputs if leaves]
    outputs = [f"output.{o.name}" for o in target.outputs]
    cut = about.part[1] < about.part[2]
    gradients = [
        None if cut and target.independent not in i.shape else f"gradient.{i.name}" for i in leaves
    ]
    layout = replace(
        layout,
        arguments=_in_order(layout.arguments, given, about),
        incoming=_in_order(layout.incoming, incoming, about),
    )
    dims = [i.shape for i in target.inputs] + [o.shape for o in target.outputs if leaves]
    return RecordedCall(
        step=about.step,
        case=case,
        dtype=dtype,
        layout=layout,
        content=Content(
            _checked(tensors, given, layout.arguments, finite=True),
            _checked(tensors, incoming, layout.incoming, finite=True),
            layout.scalars,
        ),
        outputs=_checked(tensors, outputs, layout.outputs),
        gradients=tuple(
            None if name is None else _checked(tensors, [name], [span])[0]
            for name, span in zip(gradients, layout.gradients, strict=True)
        ),
        parts=case.dims.get(target.independent, 1),
        axes=tuple(
            names.index(target.independent) if target.independent in names else None
            for names in dims
        ),
    )


def _case(
    folder: TargetFolder, shape: TrainingShape, about: CallAbout, tensors: dict[str, torch.Tensor]
) -> Case:
    """The training case that the call belongs to, with as many parts as were kept."""
    target = folder.target
    known = [c for c in target.train_cases(shape) if target.scalars_of(c.dims) == about.scalars]
    if not known:
        raise NotARecording(f"{folder.id} is never called with the scalars {about.scalars}")
    for case in known:
        dims = {**case.dims}
        if target.independent:
            dims[target.independent] = about.part[1]
        case = Case(f"recorded_step_{about.step}", dims)
        if all(
            _named(tensors, f"input.{i.name}").shape == case.shape(i.shape) for i in target.inputs
        ):
            return case
    sizes = [tuple(_named(tensors, f"input.{i.name}").shape) for i in target.inputs]
    raise NotARecording(f"inputs of sizes {sizes} belong to no training case of {folder.id}")


def _named(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in tensors:
        raise NotARecording(f"it has no {name}")
    return tensors[name]


def _checked(
    tensors: dict[str, torch.Tensor],
    names: Sequence[str],
    spans: Sequence[Span],
    finite: bool = False,
) -> tuple[torch.Tensor, ...]:
    """The tensors of these names, of exactly the shape and dtype that the layout has there."""
    found = []
    for name, span in zip(names, spans, strict=True):
        tensor = _named(tensors, name)
        form = (tuple(tensor.shape), tensor.dtype)
        if form != (span.shape, inputs.torch_dtype(span.dtype)):
            raise NotARecording(f"{name} is {form[1]} {form[0]}, must be {span.dtype} {span.shape}")
        if finite and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise NotARecording(f"{name} is not finite: the training run had diverged")
        found.append(tensor)
    return tuple(found)


def _in_order(
    spans: tuple[Placed, ...], names: Sequence[str], about: CallAbout
) -> tuple[Placed, ...]:
    """The spans with their axes in memory as in training. They stay dense, so they still fit."""
    placed = []
    for span, name in zip(spans, names, strict=True):
        were = about.strides.get(name, ())
        if len(were) != len(span.shape):
            raise NotARecording(f"it does not say how {name} lay in memory")
        strides, step = [0] * len(were), 1
        for axis in sorted(range(len(were)), key=lambda axis: (were[axis], -axis)):
            strides[axis] = step
            step *= span.shape[axis]
        placed.append(msgspec.structs.replace(span, strides=tuple(strides)))
    return tuple(placed)
