"""The worker for candidates in MLX: `python -I -B mlx_worker.py RECEIVE SEND`, in the sandbox.

For candidates in Metal where there is no Metal, two more descriptors lead to the simulator's
process, and metal_shim.py beside this file sends the launches of kernels there.

worker.py, beside it, says what a worker is, knows and never learns. Here are MLX's arrays and
calls:

- Arrays are copies of the slots' bytes, made and evaluated before the calls, as on a GPU.
- MLX is lazy, so the calls count as done when all that they returned has been evaluated: a graph
  that is handed back unevaluated is computed, and timed, within the call.
- Gradients are those of `mx.vjp`, of the function itself.
- An array that was assigned to in place is reported as moved: the trainer would read it afterwards.
- MLX has hardly a switch of the whole process, but its functions can be replaced (`mx.eval = ...`),
  for all ops at once. That is reported as a switch, and the worker itself calls copies that it made
  before the candidate was imported.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.harness import worker
else:  # as `worker.beside` does it, for worker.py itself
    spec = importlib.util.spec_from_file_location("worker", Path(__file__).with_name("worker.py"))
    worker = sys.modules["worker"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)

NO_BFLOAT16 = "numpy has no bfloat16: stay in mlx.core, or convert with .astype(mx.float32) first"
NUMPY = {"float32": "float32", "int64": "int64", "bfloat16": "uint16"}
"""How a dtype's bytes are read with numpy, which has no bfloat16."""


class MLXSlot:
    """The arrays of one call, made from the slot's bytes."""

    def __init__(self, owner: MLXWorker, index: int) -> None:
        layout = owner.layout
        base = index * layout["given_bytes"]
        self.arguments = [owner.given(span, base) for span in layout["arguments"]]
        self.incoming = [owner.given(span, base) for span in layout["incoming"]]
        self.index = index
        owner.mx.eval(self.arguments, self.incoming)


class MLXWorker(worker.Worker):
    """What the worker holds between questions."""

    simulator: tuple[int, ...] = ()
    """Descriptors to the simulator of Metal, where there is one."""

    def start_framework(self, device: str) -> None:
        """Imports MLX."""
        import mlx.core as mx
        import numpy as np

        if self.simulator:
            worker.beside("metal_shim").install(mx, np, *self.simulator)
        self.modules: tuple[Any, ...] = (mx, mx.fast, mx.linalg, mx.random, mx.array)
        self.as_imported = [dict(vars(module)) for module in self.modules]
        self.mx, self.np, self.device = SimpleNamespace(**vars(mx)), np, device
        self.host = np.frombuffer(self.memory, dtype=np.uint8)
        mx.eval(mx.zeros(1))

    def switches(self, names: list[str]) -> dict[str, Any]:
        """What holds for the whole process: MLX's device and functions, besides Python's."""
        answer = super().switches(names)
        answer["values"] |= {
            "mlx.core.default_device": str(self.mx.default_device()),
            "functions of MLX": self.replaced() or "as imported",
        }
        return answer

    def replaced(self) -> str:
        """Names in MLX's modules, and methods of its arrays, that stand for something else now."""
        return " and ".join(
            f"{module.__name__}.{name} replaced"
            for module, before in zip(self.modules, self.as_imported, strict=True)
            for name, value in before.items()
            if vars(module).get(name) is not value
        )

    def arrange(self, **layout: Any) -> dict[str, Any]:
        """Takes note of where the arrays of every slot lie."""
        self.layout = layout
        self.results.clear()
        self.slots: list[MLXSlot] = []
        return {}

    def load(self, slots: int) -> dict[str, Any]:
        """Makes the arrays of the first slots."""
        self.slots = [MLXSlot(self, index) for index in range(slots)]
        return {}

    def run(self, slots: int, differentiate: bool, passes: str) -> dict[str, Any]:
        """The calls until all that they return is evaluated; nothing else between the clocks."""
        if passes != "backward":
            self.results.clear()
        try:
            start = time.perf_counter_ns()
            if passes == "backward":
                self.backwards()
            else:
                for slot in self.slots[:slots]:
                    self.results.append(self.call(slot, differentiate and passes == "both"))
            self.mx.synchronize()
            host_ns = time.perf_counter_ns() - start
        except Exception as error:
            self.results.clear()
            raise self.refusal(error) from None
        return {"type": "Ran", "host_ns": host_ns, "device_ns": 0}

    def next(self, slot: int, differentiate: bool) -> dict[str, Any]:
        """One call more, on a slot that was filled just now."""
        if slot == 0:
            self.results.clear()
            self.slots = []
        try:
            self.slots.append(MLXSlot(self, slot))
            self.results.append(self.call(self.slots[slot], differentiate))
            self.mx.synchronize()
        except Exception as error:
            self.results.clear()
            raise self.refusal(error) from None
        return {}

    def fetch(self) -> dict[str, Any]:
        """Writes the results into the slots as bytes, and describes them."""
        try:
            calls = [
                self.deliver(slot, result, gradients)
                for slot, (result, gradients) in zip(self.slots, self.results, strict=False)
            ]
        except Exception as error:
            raise self.refusal(error) from None
        finally:
            self.results.clear()
        return {"type": "Fetched", "calls": calls}

    def trace(self, differentiate: bool) -> dict[str, Any]:
        """Nothing that tells what runs: MLX has no record of its operations."""
        return {"type": "Traced", "operators": ["mlx"]}

    # ---- how ----

    def refusal(self, error: Exception, otherwise: str = "raised") -> Any:
        """What is said of an error of the candidate's."""
        found = super().refusal(error, otherwise)
        if "PEP 3118" not in str(error):
            return found
        reason, detail = found.args
        return worker.Refusal(reason, f"{NO_BFLOAT16} | {detail}")

    def call(self, slot: MLXSlot, differentiate: bool) -> tuple[Any, Any]:
        """One call, evaluated, and its gradients by `mx.vjp`, as training takes them."""
        if differentiate:
            return self.differentiated(slot)
        result = self.function(*slot.arguments, *self.layout["scalars"])
        self.mx.eval(result)
        return result, ()

    def backwards(self) -> None:
        """The gradients of all calls, the last call's first."""
        for index in reversed(range(len(self.results))):
            self.results[index] = self.differentiated(self.slots[index])

    def differentiated(self, slot: MLXSlot) -> tuple[Any, Any]:
        """Result and gradients. Where the result has another form, only that: the judge sees it."""
        mx = self.mx
        places = [i for i, span in enumerate(self.layout["arguments"]) if span["leaf"]]
        seen: list[Any] = []

        def of_leaves(*leaves: Any) -> list[Any]:
            given = list(slot.arguments)
            for place, leaf in zip(places, leaves, strict=True):
                given[place] = leaf
            result = self.function(*given, *self.layout["scalars"])
            seen[:] = [result]
            outputs = list(result) if type(result) in (tuple, list) else [result]
            self.check_form(outputs, slot)
            return outputs

        try:
            outputs, gradients = mx.vjp(
                of_leaves, [slot.arguments[i] for i in places], slot.incoming
            )
        except _OtherForm:
            result = self.function(*slot.arguments, *self.layout["scalars"])
            mx.eval(result)
            return result, (None,) * len(places)
        mx.eval(outputs, gradients)
        return type(seen[0])(outputs) if type(seen[0]) in (tuple, list) else outputs[0], gradients

    def check_form(self, outputs: list[Any], slot: MLXSlot) -> None:
        """Raises `_OtherForm` unless the outputs take the incoming gradients."""
        if len(outputs) != len(slot.incoming) or not all(
            type(o) is self.mx.array and (o.shape, o.dtype) == (g.shape, g.dtype)
            for o, g in zip(outputs, slot.incoming, strict=True)
        ):
            raise _OtherForm

    def deliver(self, slot: MLXSlot, result: Any, gradients: Any) -> dict[str, Any]:
        """Copies what one call returned and describes it."""
        several = type(result) in (tuple, list)
        outputs = list(result) if several else [result]
        base = self.layout["slots"] * self.layout["given_bytes"]
        base += slot.index * self.layout["result_bytes"]
        return {
            "container": "several" if several else "one",
            "outputs": [
                self.write(o, self.layout["outputs"], i, base) for i, o in enumerate(outputs[:16])
            ],
            "gradients": [
                None if g is None else self.write(g, self.layout["gradients"], i, base)
                for i, g in enumerate(gradients)
            ],
            "moved": [
                self.moved(argument, span, slot.index * self.layout["given_bytes"])
                for argument, span in zip(slot.arguments, self.layout["arguments"], strict=True)
            ],
        }

    def write(self, value: Any, spans: list[Any], index: int, base: int) -> dict[str, Any]:
        """Describes a value; copies it into its place if it is an array that fits there."""
        if type(value) is not self.mx.array:
            return {"type": type(value).__name__[:80], "plain": False}
        dtype, shape = str(value.dtype).removeprefix("mlx.core."), list(value.shape)
        if index < len(spans):
            span = spans[index]
            if (shape, dtype) == (list(span["shape"]), span["dtype"]):
                found = self.bytes_of(value)
                self.host[base + span["offset"] :][: len(found)] = found
        return {
            "type": "array",
            "plain": True,
            "dtype": dtype,
            "shape": shape,
            "device": self.device,
            "layout": "torch.strided",  # the judge's word for dense; MLX has no other
        }

    def given(self, span: dict[str, Any], base: int) -> Any:
        """An array of the bytes that the judge filled, with the strides that it asks for."""
        mx, dtype = self.mx, NUMPY[span["dtype"]]
        extent = 1 + sum((n - 1) * s for n, s in zip(span["shape"], span["strides"], strict=True))
        flat = mx.array(
            self.np.frombuffer(self.memory, dtype=dtype, count=extent, offset=base + span["offset"])
        )
        if span["dtype"] == "bfloat16":
            flat = flat.view(mx.bfloat16)
        return mx.as_strided(flat, span["shape"], span["strides"])

    def moved(self, argument: Any, span: dict[str, Any], base: int) -> bool:
        """Whether an argument is no longer what it was made as."""
        fresh = self.given(span, base)
        if (argument.shape, argument.dtype) != (fresh.shape, fresh.dtype):
            return True
        return not self.np.array_equal(self.bytes_of(argument), self.bytes_of(fresh))

    def bytes_of(self, array: Any) -> Any:
        """The dense bytes of an array."""
        if array.dtype == self.mx.bfloat16:
            array = array.view(self.mx.uint16)
        return self.np.ascontiguousarray(self.np.array(array)).reshape(-1).view(self.np.uint8)


class _OtherForm(Exception):
    """The function returned something else than arrays of the outputs' shapes and dtypes."""


if __name__ == "__main__":
    asked = MLXWorker()
    asked.simulator = tuple(map(int, sys.argv[3:5]))
    worker.serve(asked)
