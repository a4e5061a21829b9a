"""A small real A/B for attacks on stage 5: candidate code that acts on the trainer around it.

    with Course(engine) as course:
        met, detail = course.meet(entry)

The model, the data and the number of steps are as small as training allows; the trainer, the
sandbox, the audits and the clean evaluation are those of `lab.ab`. One pair is run, with turns, so
that both arms are alive at once. Where it breaks off, the reason is what was met; else

    val_bpb      the candidate's is worse by more than the gate allows
    no_gain      its steps took no less time than a busy machine makes of nothing
    faster       the attack paid
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import ab
from lab.outcomes import Pair
from lab.paired import speedup
from lab.policy import Policy
from lab.selftest.corpus import Entry
from lab.training_run import Settings, Task
from trainer.files import CACHE_VARIABLE

STEPS = 12
EVAL_TOKENS = "1024"
LIMIT_S = 120.0
"""One that hangs need not be waited for; starting takes seconds, the steps less than one."""
MODEL = (
    *("--depth", "2", "--aspect-ratio", "32", "--head-dim", "32", "--sequence", "64"),
    *("--device-batch-size", "4", "--total-batch-size", "512"),
)
"""Two layers of width 64, two micro-batches of four rows a step."""
FASTER = 2.0
"""Steps of milliseconds scatter on a busy machine, by a third and more."""
VOCAB = 280
WORDS = ("the", "of", "and", "to", "in", "is", "it", "you", "that", "he", "was", "for")
FILES, WORDS_OF_A_FILE = 20, 1000


class Course:
    """Prepared text and a registry without promotions, kept from attack to attack."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._folder = tempfile.TemporaryDirectory(prefix="kernel-lab-course-")
        self._data: Path | None = None

    def meet(self, entry: Entry) -> tuple[str, str]:
        """Lets the attack train against the incumbent; what it met, and the particulars."""
        digest = hashlib.sha256(entry.path.read_bytes()).hexdigest()
        task = Task(entry.target, self._engine, entry.path, digest)
        with _cache(Path(self._folder.name) / "cache"):
            stopped, pairs, _ = ab.measure(task, self._settings(), 1)
        return (stopped.reason, stopped.detail) if stopped else _judged(pairs[0])

    def close(self) -> None:
        """Removes what it made."""
        self._folder.cleanup()

    def _settings(self) -> Settings:
        folder = Path(self._folder.name)
        if self._data is None:
            self._data = _text(folder / "text")
        return Settings(
            preset="tour",
            data=str(self._data),
            steps=STEPS,
            eval_tokens=EVAL_TOKENS,
            registry=folder / "registry" / "promoted.toml",
            limit_s=LIMIT_S,
            config=MODEL,
            turns=True,
        )


def _judged(pair: Pair) -> tuple[str, str]:
    lost, gained = pair.candidate.val_bpb - pair.incumbent.val_bpb, speedup(pair)
    detail = f"{gained:.2f}x, val_bpb {lost:+.4f}, apart {pair.apart:.3f}"
    if lost > Policy().bpb_margin:
        return "val_bpb", detail
    return ("faster" if gained > FASTER else "no_gain"), detail


def _text(folder: Path) -> Path:
    """Small text files, the same ones every time, prepared in the cache in force."""
    import prepare

    generator = random.Random(0)
    folder.mkdir()
    for number in range(FILES):
        words = generator.choices(WORDS, k=WORDS_OF_A_FILE)
        (folder / f"{number:02}.txt").write_text(" ".join(words))
    prepare.prepare(str(folder), vocab_size=VOCAB)
    return folder


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """The lab's cache lies there meanwhile."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before
