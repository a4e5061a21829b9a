"""What the lines of a ledger are looked up by, and what to look for. Pure; reads no file."""

from __future__ import annotations

from typing import NamedTuple, get_args

import msgspec

from lab.records import SCHEMA, Line

KINDS = frozenset(str(found.__struct_config__.tag) for found in get_args(Line))
"""Every kind of line that this version can read."""


class Wanted(NamedTuple):
    """What lines to look for: those that have every value that is not None."""

    kind: str | None = None
    target: str | None = None
    engine: str | None = None
    candidate_sha256: str | None = None
    workspace: str | None = None

    def fits(self, keys: Keys) -> bool:
        """Whether a line with these keys is one of them."""
        return all(
            value is None or value == getattr(keys, name)
            for name, value in zip(self._fields, self, strict=True)
        )


class Keys(msgspec.Struct, frozen=True):
    """What a line is looked up by; empty where its kind has no such field."""

    kind: str
    schema: int
    target: str = ""
    engine: str = ""
    candidate_sha256: str = ""
    workspace: str = ""

    @property
    def known(self) -> bool:
        """Whether this version can read such a line."""
        return self.kind in KINDS and self.schema <= SCHEMA


_KEYS = msgspec.json.Decoder(Keys)


def keys(line: bytes) -> Keys | None:
    """The keys of a line, or None if it is no record."""
    try:
        return _KEYS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
