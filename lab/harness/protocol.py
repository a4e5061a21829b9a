"""What judge and worker say to each other, and how it is framed.

Two pipes. A frame is 4 bytes of magic, 4 bytes of length, then JSON. The judge asks, the worker
answers, one answer to each question, carrying its number. Answers are decoded strictly: whatever is
not exactly one of these types raises `Broken`. Tensors never cross here (they lie in shared memory
as raw bytes), and neither do seeds, expected values, tolerances, names of cases, or whether a call
is checked or timed: checks and timings are the same questions.

The worker has its own copy of the framing: it imports nothing of ours.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Callable
from typing import Literal

import msgspec

MAGIC = b"KLAB"
HEADER = struct.Struct(">4sI")
COUNT_BYTES = 8
"""The last bytes of the shared memory: the passes of a Run that have begun."""
LONGEST = 2**22
"""Bytes of the longest answer: a few hundred descriptions of tensors."""


class Broken(Exception):
    """The other side said what no honest worker says."""


class Gone(Exception):
    """The other side closed its end."""


class Silent(Exception):
    """No answer in time."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag=True):
    """One frame. `number` ties the answer to its question."""

    number: int = 0


# ---- the judge asks -----------------------------------------------------------------------------


class Parse(Message, frozen=True, kw_only=True):
    """Compile this file, do not run it. -> Done"""

    path: str


class Start(Message, frozen=True, kw_only=True):
    """Import the framework, map the shared memory. -> Done"""

    memory: int
    memory_bytes: int
    device: str


class Switches(Message, frozen=True, kw_only=True):
    """Read these switches of the whole process. -> Switched"""

    names: tuple[str, ...]


class Import(Message, frozen=True, kw_only=True):
    """Run the file, find the function. -> Done"""

    function: str


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tensor in a slot: where its first element lies, and its layout (strides in elements)."""

    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Argument(Span, frozen=True, kw_only=True):
    """One input; `leaf` inputs require a gradient."""

    leaf: bool


class Arrange(Message, frozen=True, kw_only=True):
    """Lay out so many slots, one per call. -> Done

    First comes what is given in each slot (arguments, incoming gradients), `given_bytes` per slot;
    behind all of that, `result_bytes` per slot for outputs and gradients. Offsets of a span count
    from the start of its slot's part.
    """

    slots: int
    given_bytes: int
    result_bytes: int
    arguments: tuple[Argument, ...]
    scalars: tuple[float, ...]
    incoming: tuple[Span, ...]
    outputs: tuple[Span, ...]
    gradients: tuple[Span, ...]


class Load(Message, frozen=True, kw_only=True):
    """Bring the given bytes of the first `slots` slots to the device. -> Done"""

    slots: int


Passes = Literal["both", "forward", "backward"]


class Run(Message, frozen=True, kw_only=True):
    """Call the function once per slot, in order, with its gradients if so. -> Ran

    `both`: each call's gradients right after it. `forward`, then `backward`: as in training, where
    all forwards come before the first backward, and the last call's gradients come first.

    With `both`, the worker counts in the shared memory: one pass more before it calls the function,
    and one more before it asks for gradients, if it does.
    """

    slots: int
    differentiate: bool
    passes: Passes = "both"


class Next(Message, frozen=True, kw_only=True):
    """Call the function on this slot, which was filled just now; what earlier slots returned is
    kept, but before slot 0. -> Done"""

    slot: int
    differentiate: bool


class Fetch(Message, frozen=True, kw_only=True):
    """Write what the calls returned into their slots, and describe it. -> Fetched"""


class Trace(Message, frozen=True, kw_only=True):
    """Call the function once more on the first slot, and write down its operators. -> Traced"""

    differentiate: bool


Question = Parse | Start | Switches | Import | Arrange | Load | Run | Next | Fetch | Trace

# ---- the worker answers -------------------------------------------------------------------------


class Done(Message, frozen=True, kw_only=True):
    """As asked."""


class Switched(Message, frozen=True, kw_only=True):
    """The switches as text, and whether denormal numbers count."""

    values: dict[str, str]


class Ran(Message, frozen=True, kw_only=True):
    """How long the calls took by the worker's own clock, and by the device's (0: it has none)."""

    host_ns: int
    device_ns: int


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a result lies that is a part of what was given: an incoming gradient handed on."""

    offset: int
    """Bytes from the start of the first slot."""
    strides: tuple[int, ...]


class Returned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value that a call returned. Only a plain tensor has the fields after `type`."""

    type: str
    plain: bool
    dtype: str = ""
    shape: tuple[int, ...] = ()
    device: str = ""
    layout: str = ""
    given: Given | None = None


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one call returned. A gradient that is not there is None."""

    container: Literal["one", "several"]
    outputs: tuple[Returned, ...]
    gradients: tuple[Returned | None, ...]
    moved: tuple[bool, ...] = ()
    """For each argument, whether its shape, strides or storage changed."""


class Fetched(Message, frozen=True, kw_only=True):
    """What every call returned, in order."""

    calls: tuple[Call, ...]


class Traced(Message, frozen=True, kw_only=True):
    """The framework's operators, in order, that a call and its backward consist of."""

    operators: tuple[str, ...]


class Refused(Message, frozen=True, kw_only=True):
    """It could not be done, and why: the worker's word, believed only against the candidate."""

    reason: Literal["syntax", "missing_function", "import", "raised", "memory", "lab"]
    detail: str


Answer = Done | Switched | Ran | Fetched | Traced | Refused


class Channel:
    """The judge's end of the two pipes."""

    def __init__(self, receive: int, send: int) -> None:
        self._receive = receive
        self._send = send
        self._number = 0
        self._decoder = msgspec.json.Decoder(Answer, strict=True)

    def send(self, question: Question) -> None:
        """Sends one question. Raises `Gone`."""
        self._number += 1
        body = msgspec.json.encode(msgspec.structs.replace(question, number=self._number))
        try:
            os.write(self._send, HEADER.pack(MAGIC, len(body)) + body)
        except BrokenPipeError:
            raise Gone from None

    def receive(self, timeout_s: float, alive: Callable[[], bool]) -> Answer:
        """The answer to the last question. Raises `Broken`, `Gone` or `Silent`."""
        end = time.monotonic() + timeout_s
        magic, length = HEADER.unpack(self._read(HEADER.size, end, alive))
        if magic != MAGIC or length > LONGEST:
            raise Broken("bytes on the control channel that are no answer")
        body = self._read(length, end, alive)
        try:
            answer = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Broken(f"an answer of no known type: {error}"[:300]) from None
        if answer.number != self._number:
            raise Broken(f"answer {answer.number} to question {self._number}")
        return answer

    def close(self) -> None:
        """Closes both ends; a worker that still listens ends itself."""
        for descriptor in (self._receive, self._send):
            os.close(descriptor)

    def _read(self, size: int, end: float, alive: Callable[[], bool]) -> bytes:
        found = bytearray()
        while len(found) < size:
            # Woken at least every 0.2 s: a process that outlives the worker may hold the pipe open.
            left = end - time.monotonic()
            if left <= 0:
                raise Silent
            ready, _, _ = select.select([self._receive], [], [], min(left, 0.2))
            if not ready:
                if not alive():
                    raise Gone
                continue
            chunk = os.read(self._receive, size - len(found))
            if not chunk:
                raise Gone
            found += chunk
        return bytes(found)
