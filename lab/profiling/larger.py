"""What the larger ops take of a step that the trainer makes in their parts.

    shares = [*attribution.shares, *larger_shares(attribution.shares, discover())]

A larger op has no scope of its own while its parts run. Its share is then the sum of theirs; of a
part that is called elsewhere too, as large a portion as its calls inside are of all its calls,
which takes them to be equally long. Measures nothing. These shares overlap those of the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kernels.spec import TargetFolder
from lab.profiling.attribution import Share


def larger_shares(
    shares: Sequence[Share], folders: Mapping[str, TargetFolder]
) -> tuple[Share, ...]:
    """The share of every larger op whose parts all ran."""
    found = {share.op: share for share in shares}
    return tuple(
        _sum(name, [found[part] for part in folder.target.parts])
        for name, folder in folders.items()
        if folder.target.parts
        and name not in found
        and all(part in found and found[part].calls for part in folder.target.parts)
    )


def _sum(name: str, parts: Sequence[Share]) -> Share:
    calls = min(part.calls for part in parts)

    def total(kind: str) -> float:
        return sum(getattr(part, kind) * calls / part.calls for part in parts)

    return Share(
        name,
        forward=total("forward"),
        backward=total("backward"),
        low=total("low"),
        high=total("high"),
        calls=calls,
    )
