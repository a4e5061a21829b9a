"""The process that runs a candidate: `python -I -B worker.py RECEIVE SEND`, in the sandbox.

It answers the judge's questions until the judge hangs up. The framing of protocol.py is repeated
here, as nothing of ours is imported. It knows the candidate's file, the layout of its slots and the
bytes in them. It never learns a seed, an expected value, a tolerance, the name of a case, or
whether a call is checked or timed; and nothing it says is believed in the candidate's favour.

The candidate's code shares this process and may do anything to it. That is why no verdict is made
here.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import mmap
import os
import struct
import sys
import time
import traceback
from collections.abc import Callable
from operator import attrgetter
from typing import Any

MAGIC = b"KLAB"
HEADER = struct.Struct(">4sI")
LONGEST_DETAIL = 1500
MOST_OPERATORS, LONGEST_OPERATOR = 4096, 500
OPAQUE = ("torch._dynamo", "triton")
"""What compiles: once the candidate has loaded one of these, operators do not tell what runs."""


class Refusal(Exception):
    """The question cannot be answered: a reason and a detail of protocol.Refused."""


def read_exactly(descriptor: int, size: int) -> bytes:
    """`size` bytes, or the end of this process if the judge hung up."""
    found = bytearray()
    while len(found) < size:
        chunk = os.read(descriptor, size - len(found))
        if not chunk:
            os._exit(0)
        found += chunk
    return bytes(found)


def send(descriptor: int, answer: dict[str, Any]) -> None:
    """One frame to the judge."""
    body = json.dumps(answer).encode()
    view = memoryview(HEADER.pack(MAGIC, len(body)) + body)
    while view:
        view = view[os.write(descriptor, view) :]


def explain(error: BaseException, path: str) -> str:
    """The error in one line, with the lines of the candidate that led to it."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # an exception class of the candidate may fail to print itself
        text = type(error).__name__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    lines = [f"line {f.lineno}, in {f.name}: {f.line}" for f in frames[-3:]]
    return " | ".join([text[:LONGEST_DETAIL], *lines])[: 2 * LONGEST_DETAIL]


def reason_of(error: BaseException, otherwise: str) -> str:
    """`memory` for an allocation that failed, else `otherwise`."""
    text = str(error).lower()
    no_memory = "can't allocate memory" in text or "out of memory" in text
    return "memory" if isinstance(error, MemoryError) or no_memory else otherwise


def recorder(torch: Any) -> Any:
    """A mode that writes down, in `seen`, every operator that computes or allocates, with what it
    is called on. Views are left out: what they do shows in the strides of what is computed from
    them."""
    from torch.utils._python_dispatch import TorchDispatchMode

    def shown(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            return f"{value.dtype}{list(value.shape)}{list(value.stride())}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(shown, value))}]"
        return repr(value)

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # else torch imports its compiler here, which takes seconds

        def __torch_dispatch__(
            self, operator: Any, types: Any, arguments: Any = (), named: Any = None
        ) -> Any:
            named = named or {}
            if not operator.is_view and len(self.seen) <= MOST_OPERATORS:
                words = [*map(shown, arguments), *(f"{n}={shown(v)}" for n, v in named.items())]
                self.seen.append(f"{operator}({', '.join(words)})"[:LONGEST_OPERATOR])
            return operator(*arguments, **named)

    return Recorder()


class Slot:
    """The tensors of one call, all of them views of the slot's bytes."""

    def __init__(self, worker: Worker, layout: dict[str, Any], index: int) -> None:
        given = index * layout["given_bytes"]
        self.arguments = [
            worker.given(span, given).requires_grad_(span["leaf"]) for span in layout["arguments"]
        ]
        self.leaves = tuple(tensor for tensor in self.arguments if tensor.requires_grad)
        self.incoming = tuple(worker.given(span, given) for span in layout["incoming"])
        results = layout["slots"] * layout["given_bytes"] + index * layout["result_bytes"]
        self.outputs = [worker.on_host(span, results) for span in layout["outputs"]]
        self.gradients = [worker.on_host(span, results) for span in layout["gradients"]]
        self.placed = [place(argument) for argument in self.arguments]


def place(tensor: Any) -> tuple[Any, ...]:
    """Where a tensor lies and how."""
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())


class Worker:
    """What the worker holds between questions."""

    def __init__(self) -> None:
        self.path = ""
        self.function: Callable[..., Any] | None = None
        self.slots: list[Slot] = []
        self.layout: dict[str, Any] = {}
        self.results: list[tuple[Any, Any]] = []

    def answer(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        """Answers a question of that type. Raises `Refusal`."""
        methods: dict[str, Callable[..., dict[str, Any]]] = {
            "Parse": self.parse,
            "Start": self.start,
            "Switches": self.switches,
            "Import": self.import_,
            "Arrange": self.arrange,
            "Load": self.load,
            "Run": self.run,
            "Next": self.next,
            "Fetch": self.fetch,
            "Trace": self.trace,
        }
        return methods[kind](**question)

    # ---- questions ----

    def parse(self, path: str) -> dict[str, Any]:
        """Compiles the file without running it."""
        self.path = path
        with open(path, "rb") as file:
            source = file.read()
        try:
            compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            place = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
            raise Refusal("syntax", f"{type(error).__name__}: {error}{place}") from None
        return {}

    def start(self, memory: int, memory_bytes: int, device: str) -> dict[str, Any]:
        """Imports torch and maps the shared memory."""
        try:
            import torch
            from torch.autograd.graph import _engine_run_backward

            self.torch = torch
            # What torch.autograd.grad calls. That itself imports sympy for `grad_outputs`: 1.5 s
            # in every worker. torch is pinned, so a private name is safe.
            self.backward = _engine_run_backward
            self.device = torch.device(device)
            self.memory = mmap.mmap(memory, memory_bytes)
            os.close(memory)
            self.host = torch.frombuffer(self.memory, dtype=torch.uint8)
            self.synchronize()
            self.loaded = set(sys.modules)
            gc.collect()
            gc.freeze()  # a collection then looks at the candidate's objects only: 1 ms, not 100
        except Exception as error:
            raise Refusal("lab", f"{type(error).__name__}: {error}") from None
        return {}

    def switches(self, names: list[str]) -> dict[str, Any]:
        """What holds for the whole process; as trainer/engines/torch/switches.py reads it."""
        roots = {"torch": self.torch, "gc": gc, "sys": sys}
        values = {"denormal numbers": str(sys.float_info.min / 2 > 0)}
        for name in names:
            root, _, path = name.partition(".")
            try:
                found = attrgetter(path)(roots[root])
                values[name] = str(found() if callable(found) else found)
            except (AttributeError, RuntimeError) as error:
                values[name] = type(error).__name__
        return {"type": "Switched", "values": values}

    def import_(self, function: str) -> dict[str, Any]:
        """Runs the candidate's file and finds its function."""
        spec = importlib.util.spec_from_file_location("candidate", self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["candidate"] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise self.refusal(error, "import") from None
        self.function = getattr(module, function, None)
        if not callable(self.function):
            raise Refusal("missing_function", f"the file defines no function {function}")
        return {}

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
        assert self.function is not None
        result = self.function(*slot.arguments, *self.layout["scalars"])
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

    def refusal(self, error: Exception, otherwise: str = "raised") -> Refusal:
        """What is said of an error of the candidate's."""
        return Refusal(reason_of(error, otherwise), explain(error, self.path))

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
        }

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


def serve(worker: Worker) -> None:
    """Answers questions until the judge hangs up."""
    receive, answer = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (receive, answer):
        os.set_inheritable(descriptor, False)
    while True:
        _, length = HEADER.unpack(read_exactly(receive, HEADER.size))
        question = json.loads(read_exactly(receive, length))
        number, kind = question.pop("number", 0), question.pop("type")
        try:
            said: dict[str, Any] = {"type": "Done", **worker.answer(kind, question)}
        except Refusal as refusal:
            reason, detail = refusal.args
            said = {"type": "Refused", "reason": reason, "detail": detail[: 2 * LONGEST_DETAIL]}
        send(answer, {**said, "number": number})
        if kind == "Fetch":
            gc.collect()


if __name__ == "__main__":
    serve(Worker())
