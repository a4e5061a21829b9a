"""The worker for candidates in torch: `python -I -B torch_worker.py RECEIVE SEND`, in the sandbox.

worker.py, beside it, says what a worker is, knows and never learns. Here are torch's tensors and
calls:

- Tensors are views of the slots' bytes: on the CPU of the shared memory itself, else of its copy on
  the device.
- Gradients are autograd's, and the calls count as done when the device has finished.
- Results are copied into the slots only when they are fetched, and described as they are.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.harness import worker
    from lab.harness.operators import recorder
else:  # as `worker.beside` does it, for worker.py itself
    spec = importlib.util.spec_from_file_location("worker", Path(__file__).with_name("worker.py"))
    worker = sys.modules["worker"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    recorder = worker.beside("operators").recorder

OPAQUE = ("torch._dynamo", "triton")
"""What compiles: once the candidate has loaded one of these, operators do not tell what runs."""


class Slot:
    """The tensors of one call, all of them views of the slot's bytes."""

    def __init__(self, owner: TorchWorker, layout: dict[str, Any], index: int) -> None:
        given = index * layout["given_bytes"]
        self.arguments = [
            owner.given(span, given).requires_grad_(span["leaf"]) for span in layout["arguments"]
        ]
        self.leaves = tuple(tensor for tensor in self.arguments if tensor.requires_grad)
        self.incoming = tuple(owner.given(span, given) for span in layout["incoming"])
        results = layout["slots"] * layout["given_bytes"] + index * layout["result_bytes"]
        self.outputs = [owner.on_host(span, results) for span in layout["outputs"]]
        self.gradients = [owner.on_host(span, results) for span in layout["gradients"]]
        self.placed = [place(argument) for argument in self.arguments]


def place(tensor: Any) -> tuple[Any, ...]:
    """Where a tensor lies and how."""
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())


class TorchWorker(worker.Worker):
    """What the worker holds between questions."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: list[Slot] = []

    def start_framework(self, device: str) -> None:
        """Imports torch."""
        with worker.on_any_core():
            import torch
            from torch.autograd.graph import _engine_run_backward

        self.torch = self.roots["torch"] = torch
        # What torch.autograd.grad calls. That itself imports sympy for `grad_outputs`: 1.5 s
        # in every worker. torch is pinned, so a private name is safe.
        self.backward = _engine_run_backward
        self.device = torch.device(device)
        self.host = torch.frombuffer(self.memory, dtype=torch.uint8)
        self.begun = memoryview(self.memory)[-8:].cast("q")
        self.synchronize()
        self.loaded = set(sys.modules)

    def arrange(self, **layout: Any) -> dict[str, Any]:
        """Makes the tensors of every slot."""
        self.layout = layout
        self.results.clear()
        if self.device.type != "cpu":
            size = layout["slots"] * layout["given_bytes"]
            self.arena = self.torch.empty(size, dtype=self.torch.uint8, device=self.device)
        self.slots = [Slot(self, layout, index) for index in range(layout["slots"])]
        return {}

    def load(self, slots: int) -> dict[str, Any]:
        """Copies the given bytes to the device; on the CPU they are there already."""
        if self.device.type != "cpu":
            size = slots * self.layout["given_bytes"]
            self.arena[:size].copy_(self.host[:size])
            self.synchronize()
        return {}

    def run(self, slots: int, differentiate: bool, passes: str) -> dict[str, Any]:
        """The calls, and nothing else between the two clock readings."""
        torch, events = self.torch, []
        if passes != "backward":
            self.results.clear()
        if self.device.type == "cuda":
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        try:
            self.ask_for_gradients(self.slots[:slots], differentiate)
            with torch.set_grad_enabled(differentiate):
                start = time.perf_counter_ns()
                if events:
                    events[0].record()
                if passes == "backward":
                    self.backwards()
                else:
                    for slot in self.slots[:slots]:
                        self.results.append(self.call(slot, differentiate and passes == "both"))
                if events:
                    events[1].record()
                self.synchronize()
                host_ns = time.perf_counter_ns() - start
        except Exception as error:
            self.results.clear()
            raise self.refusal(error) from None
        device_ns = int(events[0].elapsed_time(events[1]) * 1e6) if events else 0
        return {"type": "Ran", "host_ns": host_ns, "device_ns": device_ns}

    def next(self, slot: int, differentiate: bool) -> dict[str, Any]:
        """One call more."""
        if slot == 0:
            self.results.clear()
        size = self.layout["given_bytes"]
        here = slice(slot * size, (slot + 1) * size)
        try:
            if self.device.type != "cpu":
                self.arena[here].copy_(self.host[here])
            self.ask_for_gradients(self.slots[slot : slot + 1], differentiate)
            with self.torch.set_grad_enabled(differentiate):
                self.results.append(self.call(self.slots[slot], differentiate))
            self.synchronize()
        except Exception as error:
            self.results.clear()
            raise self.refusal(error) from None
        return {}

    def fetch(self) -> dict[str, Any]:
        """Writes the results into the slots as bytes, and describes them."""
        threads = self.torch.get_num_threads()
        try:
            # On one thread: nothing else may then use CPU time, and the judge sees what does.
            self.torch.set_num_threads(1)
            calls = [
                self.deliver(slot, result, gradients)
                for slot, (result, gradients) in zip(self.slots, self.results, strict=False)
            ]
            if self.device.type != "cpu":
                size = len(calls) * self.layout["given_bytes"]
                self.host[:size].copy_(self.arena[:size])
        except Exception as error:
            raise self.refusal(error) from None
        finally:
            self.results.clear()
            self.torch.set_num_threads(threads)
        return {"type": "Fetched", "calls": calls}

    def trace(self, differentiate: bool) -> dict[str, Any]:
        """One call more, on the first slot, for the operators that it consists of."""
        torch = self.torch
        # Looked at first: the mode itself may load them.
        opaque = [name for name in OPAQUE if name in sys.modules and name not in self.loaded]
        try:
            self.ask_for_gradients(self.slots[:1], differentiate)
            with torch.set_grad_enabled(differentiate), recorder(torch) as operators:
                self.call(self.slots[0], differentiate)
        except Exception as error:
            raise self.refusal(error) from None
        return {"type": "Traced", "operators": [*opaque, *operators.seen]}

    # ---- how ----

    def call(self, slot: Slot, differentiate: bool) -> tuple[Any, Any]:
        """One call, and its gradients by autograd, as training does it."""
        self.begun[0] += 1
        result = self.function(*slot.arguments, *self.layout["scalars"])
        self.begun[0] += 1
        return result, self.gradients(slot, result) if differentiate else ()

    def backwards(self) -> None:
        """The gradients of all calls, the last call's first."""
        for index in reversed(range(len(self.results))):
            result, _ = self.results[index]
            self.results[index] = (result, self.gradients(self.slots[index], result))

    def gradients(self, slot: Slot, result: Any) -> tuple[Any, ...]:
        """Of one call's inputs, from what it returned."""
        outputs = tuple(result) if type(result) in (tuple, list) else (result,)
        try:
            found: tuple[Any, ...] = self.backward(
                outputs, slot.incoming, False, False, slot.leaves, True, accumulate_grad=False
            )
            return found
        except Exception:
            if self.differentiable(outputs, slot):
                raise
            return (None,) * len(slot.leaves)  # the judge sees from the outputs why

    def ask_for_gradients(self, slots: list[Slot], differentiate: bool) -> None:
        """Whether inputs require gradients. In evaluation none does, as no weight is trained."""
        for slot in slots:
            for leaf in slot.leaves:
                leaf.requires_grad_(differentiate)

    def differentiable(self, outputs: Any, slot: Slot) -> bool:
        """Whether the outputs are such that autograd had no reason to complain about them."""
        return len(outputs) == len(slot.incoming) and all(
            isinstance(o, self.torch.Tensor)
            and o.requires_grad
            and (o.shape, o.dtype, o.device) == (g.shape, g.dtype, g.device)
            for o, g in zip(outputs, slot.incoming, strict=True)
        )

    def deliver(self, slot: Slot, result: Any, gradients: Any) -> dict[str, Any]:
        """Copies what one call returned and describes it."""
        several = type(result) in (tuple, list)
        outputs = list(result) if several else [result]
        return {
            "container": "several" if several else "one",
            "outputs": [self.write(t, slot.outputs, i) for i, t in enumerate(outputs[:16])],
            "gradients": [
                None if t is None else self.write(t, slot.gradients, i)
                for i, t in enumerate(gradients)
            ],
            "moved": [
                place(argument) != placed
                for argument, placed in zip(slot.arguments, slot.placed, strict=True)
            ],
        }

    def write(self, value: Any, places: list[Any], index: int) -> dict[str, Any]:
        """Describes a value; copies it into its place if it is a tensor that fits there."""
        torch = self.torch
        name = type(value).__name__[:80]
        if type(value) is not torch.Tensor:
            return {"type": name, "plain": False}
        layout, dtype = str(value.layout), str(value.dtype).removeprefix("torch.")
        here = layout == "torch.strided" and value.device.type == self.device.type
        if here and index < len(places):
            place = places[index]
            if (value.shape, value.dtype) == (place.shape, place.dtype):
                with torch.no_grad():
                    place.copy_(value)
        return {
            "type": name,
            "plain": True,
            "dtype": dtype,
            "shape": list(value.shape),
            "device": value.device.type,
            "layout": layout,
            "given": self.where_given(value) if here else None,
        }

    def where_given(self, value: Any) -> dict[str, Any] | None:
        """Where a result lies that is a part of what was given, in the shared memory."""
        offset = value.data_ptr() - self.host.data_ptr()
        if 0 <= offset < self.layout["slots"] * self.layout["given_bytes"]:
            return {"offset": offset, "strides": list(value.stride())}
        return None

    def given(self, span: dict[str, Any], base: int) -> Any:
        """A tensor that the judge fills: on the CPU the shared memory itself, else its copy."""
        torch, dtype = self.torch, getattr(self.torch, span["dtype"])
        extent = 1 + sum((n - 1) * s for n, s in zip(span["shape"], span["strides"], strict=True))
        offset = base + span["offset"]
        if self.device.type == "cpu":
            flat = torch.frombuffer(self.memory, dtype=dtype, count=extent, offset=offset)
            # set_ and not a view: training's tensors are no views of something larger either.
            storage = flat.untyped_storage()
            return torch.empty(0, dtype=dtype).set_(storage, 0, span["shape"], span["strides"])
        size = extent * dtype.itemsize
        flat = self.arena[offset : offset + size].view(dtype)
        return flat.as_strided(span["shape"], span["strides"]).detach()

    def on_host(self, span: dict[str, Any], base: int) -> Any:
        """A dense tensor in the shared memory that the worker fills."""
        dtype = getattr(self.torch, span["dtype"])
        count = 1
        for extent in span["shape"]:
            count *= extent
        offset = base + span["offset"]
        flat = self.torch.frombuffer(self.memory, dtype=dtype, count=count, offset=offset)
        return flat.view(span["shape"])

    def synchronize(self) -> None:
        """Waits until the device has finished."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        elif self.device.type == "mps":
            self.torch.mps.synchronize()


if __name__ == "__main__":
    worker.serve(TorchWorker())
