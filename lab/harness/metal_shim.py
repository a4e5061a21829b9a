"""What stands in for Metal in the worker of a candidate in Metal, where there is none.

    install(mx, numpy, RECEIVE, SEND)

`mx.fast.metal_kernel` then sends its launches to the simulator's process and waits for what comes
back. Inputs are evaluated first, as a lazy graph has no values yet; outputs are new arrays, so
gradients come from `mx.custom_function`, as on a GPU, where a custom kernel has none of its own.
`mx.compile` is switched off by MLX's own switch: a traced function has no values to send.

It is loaded from its file by mlx_worker.py into the candidate's process and can be tampered with
there: the judge asks the simulator what ran and what it found, never this. Imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from typing import Any

MAGIC = b"KLAB"
HEADER = struct.Struct(">4sI")
ENDED = "the Metal simulator has ended"


def install(mx: Any, numpy: Any, receive: int, send: int) -> None:
    """Puts the simulator in the place of Metal, for this process."""
    made = mx.fast.metal_kernel
    link = Link(mx, numpy, receive, send)

    def metal_kernel(
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        ensure_row_contiguous: bool = True,
        atomic_outputs: bool = False,
        compile_options: dict[str, str] | None = None,
    ) -> Kernel:
        given = (name, input_names, output_names, source, header)
        how = (ensure_row_contiguous, atomic_outputs, compile_options)
        made(*given, *how)  # MLX's own errors for what it would not take
        return Kernel(link, *given, *how)

    metal_kernel.__doc__ = made.__doc__
    mx.fast.metal_kernel = metal_kernel
    mx.disable_compile()


class Kernel:
    """What `mx.fast.metal_kernel` returns."""

    def __init__(
        self,
        link: Link,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str,
        ensure_row_contiguous: bool,
        atomic_outputs: bool,
        compile_options: dict[str, str] | None,
    ) -> None:
        self._link = link
        self._contiguous = bool(ensure_row_contiguous)
        self._described = {
            "name": name,
            "input_names": list(input_names),
            "output_names": list(output_names),
            "source": source,
            "header": header,
            "ensure_row_contiguous": self._contiguous,
            "atomic_outputs": bool(atomic_outputs),
            "math_mode": (compile_options or {}).get("math_mode", "safe"),
        }

    def __call__(
        self,
        *,
        inputs: Sequence[Any],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[Any],
        grid: Sequence[int],
        threadgroup: Sequence[int],
        template: Sequence[tuple[str, Any]] | None = None,
        init_value: float | None = None,
        verbose: bool = False,
        stream: Any = None,
    ) -> list[Any]:
        """As MLX's own takes it; `verbose` and `stream` change nothing here."""
        arrays = [self._link.array(given) for given in inputs]
        sent = [self._link.sent(array, self._contiguous) for array in arrays]
        described = {
            **self._described,
            "inputs": [about for about, _ in sent],
            "output_shapes": [list(shape) for shape in output_shapes],
            "output_dtypes": [self._link.name(dtype) for dtype in output_dtypes],
            "grid": list(grid),
            "threadgroup": list(threadgroup),
            "template": [[name, self._link.template(value)] for name, value in template or ()],
            "init_value": None if init_value is None else repr(float(init_value)),
        }
        return self._link.launch(described, [data for _, data in sent])


class Link:
    """The two pipes to the simulator, and how arrays cross them."""

    def __init__(self, mx: Any, numpy: Any, receive: int, send: int) -> None:
        self._mx, self._np = mx, numpy
        self._receive, self._send = receive, send
        for descriptor in (receive, send):
            os.set_inheritable(descriptor, False)

    def array(self, given: Any) -> Any:
        """An evaluated array; a number becomes what MLX makes of it."""
        array = given if isinstance(given, self._mx.array) else self._mx.array(given)
        self._mx.eval(array)
        return array

    def sent(self, array: Any, contiguous: bool) -> tuple[dict[str, Any], Any]:
        """How an array is described, and its elements in C order."""
        np = self._np
        bits = array.view(self._mx.uint16) if array.dtype == self._mx.bfloat16 else array
        found = np.array(bits, copy=None)
        strides = None if contiguous or found.flags.c_contiguous else list(found.strides)
        about = {"dtype": self.name(array.dtype), "shape": list(array.shape), "strides": strides}
        return about, np.ascontiguousarray(found).reshape(-1).view(np.uint8).data

    def name(self, dtype: Any) -> str:
        """A dtype as the simulator calls it."""
        return str(dtype).removeprefix("mlx.core.").removesuffix("_")

    def template(self, value: Any) -> bool | int | str:
        """A template argument: a bool, an int or a dtype."""
        if isinstance(value, bool | int):
            return value
        if isinstance(value, self._mx.Dtype):
            return self.name(value)
        raise TypeError(
            f"a template argument is a bool, an int or an mx.Dtype, not a {type(value).__name__}"
        )

    def launch(self, described: dict[str, Any], data: Sequence[Any]) -> list[Any]:
        """The outputs. Raises `RuntimeError` with what the simulator says is wrong."""
        body = json.dumps(described).encode()
        try:
            for part in (HEADER.pack(MAGIC, len(body)) + body, *data):
                self._write(part)
            _, length = HEADER.unpack(self._read(HEADER.size))
            reply = json.loads(self._read(length))
        except OSError:
            raise RuntimeError(ENDED) from None
        if reply["problem"]:
            raise RuntimeError(reply["problem"])
        return [self._returned(about) for about in reply["outputs"]]

    def _returned(self, about: dict[str, Any]) -> Any:
        mx, np, dtype = self._mx, self._np, about["dtype"]
        stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)
        count = 1
        for extent in about["shape"]:
            count *= extent
        found = np.frombuffer(self._read(count * stored.itemsize), dtype=stored)
        array = mx.array(found)
        if dtype == "bfloat16":
            array = array.view(mx.bfloat16)
        return array.reshape(about["shape"])

    def _read(self, size: int) -> bytearray:
        found = bytearray(size)
        view = memoryview(found)
        while view:
            count = os.readv(self._receive, [view])
            if not count:
                raise RuntimeError(ENDED)
            view = view[count:]
        return found

    def _write(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._send, view) :]
