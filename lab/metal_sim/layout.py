"""The structures that the judge's side and the runtime share, field by field as in
runtime/layout.h. child.py compares the sizes before it runs anything.

It imports nothing of the lab: the child loads it without a package around it.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_uint32, c_uint64

TYPE_CHECKING = False  # for mypy; the child has no time for typing
if TYPE_CHECKING:
    from typing import Any, ClassVar

    Fields = list[tuple[str, Any]]
UNFINISHED, FINISHED, STOPPED = range(3)
ORDERS = {"in_order": 0, "reverse": 1, "random": 2, "preempting": 2}
THREADGROUP_REGION = -2


class Region(ctypes.Structure):
    """One buffer."""

    _fields_: ClassVar[Fields] = [
        ("start", c_uint64), ("bytes", c_uint64), ("handed", c_uint64),
        ("output", c_uint32), ("initialised", c_uint32), ("grain", c_uint32), ("unused", c_uint32),
        ("bytes_read", c_uint64), ("bytes_written", c_uint64), ("never_written", c_uint64),
    ]  # fmt: skip


class GroupVariable(ctypes.Structure):
    """One threadgroup variable."""

    _fields_: ClassVar[Fields] = [("start", c_uint64), ("bytes", c_uint64)]


class Finding(ctypes.Structure):
    """One finding, as the runtime writes it down."""

    _fields_: ClassVar[Fields] = [
        ("kind", c_uint32), ("times", c_uint32), ("place", c_uint64), ("other_place", c_uint64),
        ("offset", c_int64), ("region", c_int32), ("bytes", c_uint32),
        ("thread", c_uint32 * 3), ("group", c_uint32 * 3), ("lane", c_uint32),
        ("simdgroup", c_uint32), ("other_thread", c_uint32 * 3), ("other_known", c_uint32),
        ("same_group", c_uint32), ("value", c_int64), ("line", c_uint32), ("part", c_uint32),
    ]  # fmt: skip


class Job(ctypes.Structure):
    """One launch; it stands at the start of the mapping."""

    _fields_: ClassVar[Fields] = [
        ("regions_at", c_uint64), ("group_variables_at", c_uint64), ("findings_at", c_uint64),
        ("regions", c_uint32), ("group_variables", c_uint32), ("findings_room", c_uint32),
        ("findings", c_uint32), ("grid", c_uint32 * 3), ("threads", c_uint32 * 3),
        ("checking", c_uint32), ("order", c_uint32), ("seed", c_uint32),
        ("preempt_every", c_uint32), ("poison", c_uint32), ("unused", c_uint32),
        ("stack_bytes", c_uint64), ("group_section", c_uint64), ("group_bytes", c_uint64),
        ("entry", c_uint64), ("image_bytes", c_uint64), ("time_limit_us", c_uint64),
        ("outcome", c_uint32), ("confined", c_uint32), ("threads_run", c_uint64),
        ("switches", c_uint64), ("collectives", c_uint64), ("barriers", c_uint64),
        ("accesses", c_uint64), ("atomics", c_uint64),
    ]  # fmt: skip


STRUCTURES = (Job, Region, GroupVariable, Finding)
