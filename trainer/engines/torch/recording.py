"""How the torch engine records a call for `trainer.recording`: copies, aliases and tensor hooks.

    result = take(record, function, arguments)
    write(Path("rmsnorm.safetensors"), records, about)

Copies keep the order of the axes in memory (a transposed gradient stays transposed); gaps between
elements are lost. Tensors are called `0.input.x`, `0.output.y`, `0.incoming.y` (the gradient that
training brought for y) and `0.gradient.x` (what the op made of it), numbered by record; the file's
metadata has one entry, `recording`, which is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from trainer.errors import DataError, EngineError
from trainer.recording import FORMAT, Record


def take(record: Record, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Calls the function and keeps what crosses the seam. See `trainer.recording.Take`."""
    target = record.target
    tensors: Sequence[Tensor] = arguments[: len(target.inputs)]
    record.scalars = arguments[len(target.inputs) :]
    itemsize = max(t.element_size() for t in tensors if t.is_floating_point())
    record.cut([t.shape for t in tensors], itemsize)
    given = []
    for one, tensor in zip(target.inputs, tensors, strict=True):
        _keep(record, f"input.{one.name}", one.shape, tensor)
        if one.differentiable:
            tensor = _awaited(record, f"gradient.{one.name}", one.shape, tensor)
        given.append(tensor)
    result = function(*given, *arguments[len(target.inputs) :])
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    if len(outputs) != len(target.outputs) or not all(isinstance(o, Tensor) for o in outputs):
        raise EngineError("a recorded op returned something else than its target's outputs")
    given_back = []
    for output, tensor in zip(target.outputs, outputs, strict=True):
        _keep(record, f"output.{output.name}", output.shape, tensor)
        given_back.append(_awaited(record, f"incoming.{output.name}", output.shape, tensor))
    return tuple(given_back) if outputs is result else given_back[0]


def write(path: Path, records: Sequence[Record], about: dict[str, Any]) -> None:
    """One file with all records of an op. Raises `DataError` if it cannot be written."""
    tensors, calls = {}, []
    for number, record in enumerate(records):
        calls.append(record.about({name: t.stride() for name, t in record.tensors.items()}))
        for name, tensor in record.tensors.items():
            tensors[f"{number}.{name}"] = tensor.cpu().contiguous()
    metadata = {"recording": json.dumps({"format": FORMAT, **about, "calls": calls})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"the recording {path} cannot be written: {error}", "Name another folder in the plan."
        ) from error


def _keep(record: Record, name: str, shape: tuple[str, ...], tensor: Tensor) -> None:
    axis = record.axis(shape)
    if axis is not None:
        tensor = tensor.narrow(axis, record.start, record.count)
    record.tensors[name] = tensor.detach().clone()
    record.awaited.discard(name)


def _came(record: Record, name: str, shape: tuple[str, ...], tensor: Tensor) -> None:
    record.awaited.discard(name)


def _awaited(record: Record, name: str, shape: tuple[str, ...], tensor: Tensor) -> Tensor:
    """An alias of the tensor, whose gradient is kept when it comes; the tensor if none will.

    The alias of an input gets gradients from this call alone. That of an output gets what the model
    sends back, before any hook of the op itself has seen it.
    """
    if not tensor.requires_grad:
        return tensor
    record.awaited.add(name)
    alias = tensor.view_as(tensor)
    keep = _keep if record.keeps_gradient(shape) else _came
    alias.register_hook(partial(keep, record, name, shape))
    return alias
