"""Which records belong together: one `Story` per candidate, engine and hardware.

`stories(lines)` turns a ledger, oldest line first, into stories, newest first. Records of one
candidate count together only if they name the same harness, target and framework versions as its
newest record; the others are counted in `outdated` and shown nowhere. While a verdict stands, the
story shows the records that it rests on; once a stage ran again, the verdict is `superseded` and
the story shows what the gate would look at next (`lab.evidence`).

Pure: reads records, judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.evidence import collect
from lab.records import (
    About,
    Benched,
    Calibrated,
    Demoted,
    Judged,
    Line,
    Machine,
    Opened,
    Profiled,
    Promoted,
    Tried,
    Verified,
)

SHORT = 12
"""Characters of a hash that are shown where the whole would not fit."""

Standing = Literal["promoted", "replaced", "demoted", ""]
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Story:
    """What the ledger holds about one candidate on one engine and hardware."""

    target: str
    engine: str
    language: str
    workspace: str
    candidate_sha256: str
    when_utc: str
    """Time of the newest record."""
    machine: Machine
    harness_sha256: str
    target_sha256: str
    verified: Verified | None = None
    benched: Benched | None = None
    tried: Tried | None = None
    judged: Judged | None = None
    superseded: Judged | None = None
    """A verdict that is older than the newest records, so that it no longer speaks for them."""
    calibrated: Calibrated | None = None
    """The calibration of the machine that the verdict rests on."""
    standing: Standing = ""
    outdated: int = 0
    """Records of this candidate made with another harness, target or framework version."""

    @property
    def short(self) -> str:
        """The first characters of the candidate's hash."""
        return self.candidate_sha256[:SHORT]

    @property
    def evidence(self) -> tuple[Verified | Benched | Tried, ...]:
        """The stage records that are shown, in the order of the stages."""
        return tuple(r for r in (self.verified, self.benched, self.tried) if r is not None)


def stories(lines: Iterable[Line]) -> list[Story]:
    """One story per candidate, engine and hardware, the one with the newest record first."""
    groups: dict[Key, list[About]] = {}
    newest: dict[Key, int] = {}
    calibrations: dict[str, Calibrated] = {}
    standings: dict[Key, Standing] = {}
    for position, line in enumerate(lines):
        if isinstance(line, Promoted | Demoted):
            _take_standing(standings, line)
        if isinstance(line, Calibrated):
            calibrations[line.id] = line
        if isinstance(line, Verified | Benched | Tried | Judged | Promoted):
            groups.setdefault(_key(line), []).append(line)
            newest[_key(line)] = position
    ordered = sorted(groups, key=lambda key: newest[key], reverse=True)
    return [_story(groups[key], standings.get(key, ""), calibrations) for key in ordered]


def latest_profile(lines: Iterable[Line], engine: str = "") -> Profiled | None:
    """The newest profile, of `engine` if one is named."""
    found = [p for p in lines if isinstance(p, Profiled) and engine in ("", p.engine)]
    return found[-1] if found else None


def untouched(lines: Sequence[Line]) -> list[Opened]:
    """Workspaces that were opened and of which nothing was recorded since, newest first."""
    seen = {
        line.workspace for line in lines if isinstance(line, About) and not isinstance(line, Opened)
    }
    return [r for r in reversed(lines) if isinstance(r, Opened) and r.workspace not in seen]


def _key(line: About | Demoted) -> Key:
    return line.target, line.engine, line.candidate_sha256, line.machine.hardware


def _take_standing(standings: dict[Key, Standing], line: Promoted | Demoted) -> None:
    """A promotion also replaces its forerunner on the same engine and hardware."""
    key = _key(line)
    for other, standing in standings.items():
        same_place = (other[0], other[1], other[3]) == (key[0], key[1], key[3])
        if same_place and standing == "promoted":
            standings[other] = "replaced"
    standings[key] = "promoted" if isinstance(line, Promoted) else "demoted"


def _same_setting(one: About, other: About) -> bool:
    return (
        one.harness_sha256 == other.harness_sha256
        and one.target_sha256 == other.target_sha256
        and one.preset == other.preset
        and one.machine.frameworks == other.machine.frameworks
    )


def _story(
    records: Sequence[About], standing: Standing, calibrations: Mapping[str, Calibrated]
) -> Story:
    newest = records[-1]
    kept = [record for record in records if _same_setting(record, newest)]
    current, superseded = _verdicts(kept)
    evidence = collect(
        [record for record in kept if current is None or record.id in current.evidence],
        candidate_sha256=newest.candidate_sha256,
        harness_sha256=newest.harness_sha256,
        target_sha256=newest.target_sha256,
        engine=newest.engine,
        hardware=newest.machine.hardware,
        frameworks=newest.machine.frameworks,
        preset=newest.preset,
    )
    cited = [calibrations[i] for i in (current.evidence if current else ()) if i in calibrations]
    return Story(
        target=newest.target,
        engine=newest.engine,
        language=newest.language,
        workspace=newest.workspace,
        candidate_sha256=newest.candidate_sha256,
        when_utc=newest.time_utc,
        machine=newest.machine,
        harness_sha256=newest.harness_sha256,
        target_sha256=newest.target_sha256,
        verified=evidence.verified,
        benched=evidence.benched,
        tried=evidence.tried,
        judged=current,
        superseded=superseded,
        calibrated=cited[-1] if cited else None,
        standing=standing,
        outdated=len(records) - len(kept),
    )


def _verdicts(records: Sequence[About]) -> tuple[Judged | None, Judged | None]:
    """The verdict that stands, and the one that newer stage records have overtaken."""
    current: Judged | None = None
    overtaken: Judged | None = None
    for record in records:
        if isinstance(record, Judged):
            current, overtaken = record, None
        elif isinstance(record, Verified | Benched | Tried) and current is not None:
            current, overtaken = None, current
    return current, overtaken
