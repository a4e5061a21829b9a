"""How the MLX engine records a call for `trainer.recording`: copies and marks on the gradients.

    result = take(record, function, arguments)
    write(Path("rmsnorm.safetensors"), records, about)

The file is that of the torch engine (`trainer.engines.torch.recording`). An array is evaluated and
copied when it crosses the seam; MLX keeps the order of axes in memory to itself, so every array
counts as laid out row by row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from trainer.engines.mlx.marks import marked
from trainer.errors import DataError, EngineError
from trainer.recording import FORMAT, Record

Shape = tuple[str, ...]


def take(record: Record, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Calls the function and keeps what crosses the seam. See `trainer.recording.Take`."""
    target = record.target
    arrays: Sequence[mx.array] = arguments[: len(target.inputs)]
    record.scalars = arguments[len(target.inputs) :]
    floats = [a for a in arrays if mx.issubdtype(a.dtype, mx.floating)]
    record.cut([a.shape for a in arrays], max(a.itemsize for a in floats))
    for one, array in zip(target.inputs, arrays, strict=True):
        _keep(record, f"input.{one.name}", one.shape, array)
    leaves = [i for i, one in enumerate(target.inputs) if one.differentiable]
    names = [(f"gradient.{target.inputs[i].name}", target.inputs[i].shape) for i in leaves]
    given = list(arguments)
    for i, alias in zip(leaves, _awaited(record, names, [arrays[i] for i in leaves]), strict=True):
        given[i] = alias
    result = function(*given)
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(outputs) != len(target.outputs) or not all(isinstance(o, mx.array) for o in outputs):
        raise EngineError("a recorded op returned something else than its target's outputs")
    for output, array in zip(target.outputs, outputs, strict=True):
        _keep(record, f"output.{output.name}", output.shape, array)
    names = [(f"incoming.{output.name}", output.shape) for output in target.outputs]
    given_back = _awaited(record, names, outputs) if leaves else outputs
    return tuple(given_back) if isinstance(result, (tuple, list)) else given_back[0]


def write(path: Path, records: Sequence[Record], about: dict[str, Any]) -> None:
    """One file with all records of an op. Raises `DataError` if it cannot be written."""
    arrays, calls = {}, []
    for number, record in enumerate(records):
        calls.append(record.about({name: _strides(a) for name, a in record.tensors.items()}))
        for name, array in record.tensors.items():
            arrays[f"{number}.{name}"] = array
    metadata = {"recording": json.dumps({"format": FORMAT, **about, "calls": calls})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mx.save_safetensors(str(path), arrays, metadata)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"the recording {path} cannot be written: {error}", "Name another folder in the plan."
        ) from error


def _awaited(
    record: Record, names: Sequence[tuple[str, Shape]], arrays: Sequence[mx.array]
) -> list[mx.array]:
    """Aliases of the arrays, whose gradients are kept when they come."""
    record.awaited.update(name for name, _ in names)
    return marked(arrays, partial(_came, record, names))


def _came(
    record: Record, names: Sequence[tuple[str, Shape]], gradients: Sequence[mx.array]
) -> None:
    for (name, shape), gradient in zip(names, gradients, strict=True):
        record.awaited.discard(name)
        if name.startswith("incoming.") or record.keeps_gradient(shape):
            _keep(record, name, shape, gradient)


def _keep(record: Record, name: str, shape: Shape, array: mx.array) -> None:
    """A copy of the part that is kept, which holds on to no graph."""
    axis = record.axis(shape)
    if axis is not None:
        places = mx.arange(record.start, record.start + record.count)
        array = mx.take(array, places, axis=axis)
    narrow = array.dtype == mx.bfloat16
    copy = mx.array(np.array(array.view(mx.uint16) if narrow else array))
    record.tensors[name] = copy.view(mx.bfloat16) if narrow else copy
    mx.eval(record.tensors[name])


def _strides(array: mx.array) -> list[int]:
    return [*accumulate(reversed(array.shape[1:]), mul, initial=1)][::-1][-array.ndim or 1 :]
