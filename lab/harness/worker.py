"""What the workers of both frameworks share: how they talk with the judge, the candidate's file.

torch_worker.py and mlx_worker.py are the scripts that run in the sandbox. Each makes a `Worker` of
its framework and lets it `serve`: it answers the judge's questions until the judge hangs up. The
framing of protocol.py is repeated here, as only files beside this one are imported.

A worker knows the candidate's file, the layout of its slots and the bytes in them. It never learns
a seed, an expected value, a tolerance, the name of a case, or whether a call is checked or timed;
and nothing it says is believed in the candidate's favour. The candidate's code shares its process
and may do anything to it. That is why no verdict is made here.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import mmap
import os
import struct
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

MAGIC = b"KLAB"
HEADER = struct.Struct(">4sI")
LONGEST_DETAIL = 1500


def beside(name: str) -> Any:
    """The module in a file beside this one: isolated Python does not look here, and where the
    checkout is hidden this folder cannot even be listed (seatbelt), as an import would."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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


@contextmanager
def on_any_core() -> Iterator[None]:
    """For the import of torch, which takes more than a second.

    OpenMP, told to bind its threads, binds this one to the first core as soon as its library is
    loaded, and so it does in all workers that start at once. So torch's copy of it is loaded first,
    and the thread goes to its core at the end. NumPy comes before, too: it makes threads for all
    cores that it may use. Where torch has no copy of its own, nothing changes.
    """
    if sys.platform != "linux":
        yield
        return
    free = os.sched_getaffinity(0)
    torch = importlib.util.find_spec("torch")
    for folder in (torch and torch.submodule_search_locations) or ():
        for library in Path(folder, "lib").glob("libgomp*.so*"):
            ctypes.CDLL(str(library))
    with suppress(ImportError):
        importlib.import_module("numpy")
    bound = os.sched_getaffinity(0)
    if bound == free:
        yield
        return
    os.sched_setaffinity(0, free)
    try:
        yield
    finally:
        os.sched_setaffinity(0, bound)


class Worker(ABC):
    """What a worker holds between questions, and how it answers those that need no tensors."""

    function: Callable[..., Any]
    """The candidate's, once its file has run."""

    def __init__(self) -> None:
        self.path = ""
        self.layout: dict[str, Any] = {}
        self.results: list[tuple[Any, Any]] = []
        self.roots: dict[str, Any] = {"gc": gc, "sys": sys}
        """Where the names of switches begin."""

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
        """Imports the framework and maps the shared memory."""
        try:
            self.memory = mmap.mmap(memory, memory_bytes)
            os.close(memory)
            self.start_framework(device)
            gc.collect()
            gc.freeze()  # a collection then looks at the candidate's objects only: 1 ms, not 100
        except Exception as error:
            raise Refusal("lab", f"{type(error).__name__}: {error}") from None
        return {}

    def switches(self, names: list[str]) -> dict[str, Any]:
        """What holds for the whole process; as trainer/engines/torch/switches.py reads it."""
        values = {"denormal numbers": str(sys.float_info.min / 2 > 0)}
        for name in names:
            root, _, path = name.partition(".")
            if root not in self.roots:
                continue  # torch's, where the framework is MLX
            try:
                found = attrgetter(path)(self.roots[root])
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
        found = getattr(module, function, None)
        if not callable(found):
            raise Refusal("missing_function", f"the file defines no function {function}")
        self.function = found
        return {}

    def refusal(self, error: Exception, otherwise: str = "raised") -> Refusal:
        """What is said of an error of the candidate's."""
        return Refusal(reason_of(error, otherwise), explain(error, self.path))

    # ---- what differs between frameworks ----

    @abstractmethod
    def start_framework(self, device: str) -> None:
        """Imports it, and notes what has to be noted before the candidate is imported."""

    @abstractmethod
    def arrange(self, **layout: Any) -> dict[str, Any]:
        """Lays out the slots of protocol.Arrange."""

    @abstractmethod
    def load(self, slots: int) -> dict[str, Any]:
        """Brings what is given in the first slots to where it is computed on."""

    @abstractmethod
    def run(self, slots: int, differentiate: bool, passes: str) -> dict[str, Any]:
        """The calls, and nothing else between the two clock readings."""

    @abstractmethod
    def next(self, slot: int, differentiate: bool) -> dict[str, Any]:
        """One call more, on a slot that was filled just now."""

    @abstractmethod
    def fetch(self) -> dict[str, Any]:
        """Writes the results into the slots as bytes, and describes them."""

    @abstractmethod
    def trace(self, differentiate: bool) -> dict[str, Any]:
        """One call more, on the first slot, for the operators that it consists of."""


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
