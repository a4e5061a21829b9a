"""The report: report.html, progress.png and results.tsv, all derived from the ledger's records.

    paths = write_report(list(ledger.read()), folder)

The page is one file: style sheet and figures inside, no script, nothing fetched. Every value in it
is escaped. The same records give the same bytes: there is no clock and no chance here. Files
appear whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from lab.errors import MachineError
from lab.records import Line, Machine, Profiled
from lab.report import figures, sections
from lab.report.markup import Markup, element, joined, raw
from lab.report.numbers import counted
from lab.report.overview import anchor, overview
from lab.report.results_table import results_tsv
from lab.report.story import Story, latest_profile, stories, untouched
from lab.report.words import ab_missing, bench_missing, story_sentence

SECTIONS = 12
"""Candidates with a section of their own; older ones stand in the overview and in results.tsv."""
_STYLE = Path(__file__).with_name("page.css")


class ReportPaths(msgspec.Struct, frozen=True, kw_only=True):
    """The files that were written."""

    html: str
    png: str
    tsv: str

    def __str__(self) -> str:
        return "\n".join((self.html, self.png, self.tsv))


def write_report(
    lines: Iterable[Line], folder: Path, *, title: str = "Kernel Lab report"
) -> ReportPaths:
    """Writes the three files into `folder`, which is made if it is missing.

    `lines` are the ledger's, oldest first. Raises `MachineError` where the folder cannot be
    written; each file is then still the old one, or already the new one, and never half of it.
    """
    records = list(lines)
    content = {
        "report.html": page(records, title).encode(),
        "progress.png": figures.png_bytes(figures.progress_figure(records)),
        "results.tsv": results_tsv(stories(records)).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            _replace(folder / name, data)
    except OSError as error:
        raise MachineError(
            f"the report cannot be written to {folder}: {error}",
            "Free some space, or name another folder: kernel-lab report --output FOLDER",
        ) from error
    return ReportPaths(
        html=str(folder / "report.html"),
        png=str(folder / "progress.png"),
        tsv=str(folder / "results.tsv"),
    )


def page(lines: Sequence[Line], title: str = "Kernel Lab report") -> str:
    """The whole HTML page."""
    found = stories(lines)
    shown = found[:SECTIONS]
    body = element(
        "main",
        _header(lines, title),
        overview(found, untouched(lines), len(shown)),
        _profiles(lines),
        [
            sections.candidate_section(story, _candidate_figure(story), told=len(found) == 1)
            for story in shown
        ],
        sections.machine_section(_machines(lines, shown)),
        sections.ledger_section(lines),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", raw(_STYLE.read_text(encoding="utf-8"))),
    )
    document = element("html", head, element("body", body), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _header(lines: Sequence[Line], title: str) -> Markup:
    state = "The ledger is empty."
    if lines:
        state = f"{counted(len(lines), 'record')}, the newest of {lines[-1].time_utc}."
    said = f"Derived from the ledger and nothing else. {state}"
    return element("header", element("h1", title), element("p", said, class_="note"))


def _profiles(lines: Sequence[Line]) -> Markup:
    """The newest profile of each engine."""
    engines = sorted({line.engine for line in lines if isinstance(line, Profiled)})
    found = [p for p in (latest_profile(lines, engine) for engine in engines) if p is not None]
    if not found:
        return sections.profile_section(None, joined())
    made = []
    for profile in found:
        label = f"Share of the trainer's step per op, {profile.preset} on {profile.engine}"
        drawn = figures.svg_text(
            figures.profile_figure(profile), f"profile-{profile.engine}", label
        )
        made.append(sections.profile_section(profile, _figure(drawn)))
    return joined(made)


def _candidate_figure(story: Story) -> Markup:
    if bench_missing(story) and ab_missing(story):
        return joined()  # nothing to draw, and the sections below say why
    drawn = figures.svg_text(figures.candidate_figure(story), anchor(story), story_sentence(story))
    return _figure(drawn)


def _figure(svg: str) -> Markup:
    return element("figure", raw(svg))


def _machines(lines: Sequence[Line], shown: Sequence[Story]) -> list[Machine]:
    """Each machine once, the one of the newest record first."""
    used = [story.machine for story in shown] + [line.machine for line in reversed(lines[-1:])]
    distinct: list[Machine] = []
    for machine in used:
        if machine not in distinct:
            distinct.append(machine)
    return distinct


def _replace(path: Path, data: bytes) -> None:
    """Writes `data` to a file beside `path`, then renames it: readers see the old or the new."""
    handle, half = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(half, 0o644)
        os.replace(half, path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise
