"""The whole self-test, in order: attacks, the targets' own cheats, honest candidates, clocks.

    scorecard = run("cpu", only=None, quick=False)

`quick` leaves out what needs a clock (attacks on the bench and the A/B, the A/A, the slowed copies)
and the targets' own cheats, which the tests try anyway.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from importlib.util import find_spec

from lab.errors import CommandError
from lab.progress import Progress, silent
from lab.selftest import corpus
from lab.selftest.corpus import FAIR, Entry
from lab.selftest.scorecard import Scorecard
from lab.selftest.trials import Trial, Trials, planted_secret

NEEDS_COMPILER = "Needs: compiler"
TIMED = ("bench", "ab")
COPIES = "copies"
"""What `only` calls the copies of the incumbent that are slowed on purpose."""


def run(
    engine: str, only: str | None = None, quick: bool = False, progress: Progress = silent
) -> Scorecard:
    """Tries everything, or one category by its letter or name. Raises `CommandError`."""
    from lab.harness import harness_sha256, isolation
    from lab.machine import fingerprint
    from lab.selftest.clocks import timed_copies

    if engine != "cpu":
        raise CommandError(
            f"self-test runs on the CPU, not on {engine}",
            "The judge is the same for every engine: kernel-lab --engine cpu self-test",
        )
    started = time.monotonic()
    copies_alone = only == COPIES
    trials = [] if copies_alone else try_all(chosen(only, quick), engine, progress)
    timed = timed_copies(engine, progress) if copies_alone or not (quick or only) else ()
    return Scorecard(
        harness_sha256=harness_sha256(),
        hardware=fingerprint(engine).hardware,
        isolation=isolation(),
        seconds=time.monotonic() - started,
        trials=tuple(sorted(trials, key=lambda t: (t.category in FAIR, t.category[1] != " "))),
        timed=timed,
    )


def chosen(only: str | None, quick: bool) -> list[Entry]:
    """The entries asked for, in order of category."""
    every = [
        *corpus.attacks(),
        *([] if quick else corpus.own_cheats()),
        *corpus.honest(),
        *corpus.starting_candidates(),
    ]
    found = [
        entry
        for entry in every
        if (only is None or entry.category.lower().startswith(only.lower()))
        and not (quick and entry.stage in TIMED)
    ]
    if not found:
        names = ", ".join((*dict.fromkeys(entry.category for entry in every), COPIES))
        raise CommandError(f"no category '{only}'", f"Categories are {names}.")
    return found


def try_all(entries: Sequence[Entry], engine: str, progress: Progress) -> list[Trial]:
    """Every entry, those of one target and stage together, so that workers can be kept."""
    order = sorted(entries, key=lambda e: (e.category in FAIR, e.target, e.language, e.stage))
    found: dict[str, Trial] = {}
    with planted_secret(), Trials(engine) as trials:
        for number, entry in enumerate(order):
            progress("self-test", number, len(order))
            following = order[number + 1] if number + 1 < len(order) else None
            found[entry.name] = not_run(entry) or trials.run(entry, following)
    progress("self-test", len(order), len(order))
    return [found[entry.name] for entry in entries]


def _no_simulator() -> str:
    from lab.metal_sim import Unavailable
    from lab.metal_sim.compiler import find_compiler

    try:
        find_compiler()
    except Unavailable as error:
        return error.message
    return ""


def not_run(entry: Entry) -> Trial | None:
    """The trial of an entry whose compiler or framework this machine lacks, else None."""
    lacking = ""
    if NEEDS_COMPILER in entry.summary and not (shutil.which("g++") or shutil.which("clang++")):
        lacking = "there is no C++ compiler here"
    if entry.language == "mlx" and find_spec("mlx") is None:
        lacking = "there is no MLX here"
    if entry.language == "metal":
        lacking = _no_simulator()
    if not lacking:
        return None
    return Trial(
        name=entry.name,
        category=entry.category,
        target=entry.target,
        stage=entry.stage,
        expected=" or ".join(entry.expected),
        met="nothing",
        detail=lacking,
        end="not run",
    )
