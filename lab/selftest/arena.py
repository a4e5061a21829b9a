"""Candidates of one target, one after the other, against the same trusted workers.

    with Arena(folder, "cpu") as arena:
        arena.start(path)                 # its worker starts while another is judged
        outcome = arena.verify(path)
        outcome = arena.bench(path, pace)

Starting a worker takes seconds, most of it importing torch. The incumbent's is trusted, so it is
kept; every candidate gets a fresh one of its own, as in `verify` and `bench`, whose judges decide
here too. Shapes are the target's odd cases and one small training shape.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.spec import Case, TargetFolder, TrainingShape
from lab.harness.bench import judge as judge_bench
from lab.harness.judge import Fault, Patience, Session
from lab.harness.verify import judge as judge_verify
from lab.records import Failed, Measured, Passed, Quarantined

if TYPE_CHECKING:
    from lab.harness.timing import Pace

SHAPE = TrainingShape(
    batch=2,
    sequence=64,
    width=128,
    heads=2,
    head_dim=64,
    vocab=512,
    layers=2,
    matrices=((2, 128, 512),),
)
"""Small enough that hundreds of verifications take minutes."""
ARENA_BYTES = 2**26
LONG_S = 7200.0
"""Trusted workers outlive many candidates."""


class Arena:
    """The trusted workers of one target, and a stand for one candidate at a time."""

    def __init__(self, folder: TargetFolder, engine: str, patience: Patience) -> None:
        self.folder = folder
        self._engine = engine
        self._patience = patience
        self._trusted: dict[str, Session] = {}
        self._started: dict[Path, tuple[Session, Future[None]]] = {}
        self._pool = ThreadPoolExecutor(max_workers=4)

    @property
    def cases(self) -> tuple[Case, ...]:
        """The odd cases first: most attacks fail the smallest."""
        target = self.folder.target
        return (*target.odd_cases, *target.train_cases(SHAPE))

    def start(self, path: Path) -> None:
        """Begins to start a fresh worker for `path`."""
        if path not in self._started:
            session = self._session(path, self._patience)
            self._started[path] = session, self._pool.submit(session.prepare)

    def verify(self, path: Path) -> Passed | Failed:
        """The verdict on `path`, as `lab.harness.verify` gives it."""
        from lab.harness.checking import CaseChecks

        todo = [
            CaseChecks.of(self.folder, case, dtype, self._engine)
            for case in self.cases
            for dtype in self.folder.target.dtypes
        ]
        session, ready = self._take(path)
        with session:
            try:
                ready.result()
            except Fault as fault:
                return Failed(reason=fault.reason, detail=fault.detail)
            return judge_verify(todo, session, self._incumbent("incumbent"), self._pool)

    def bench(self, path: Path, pace: Pace) -> Measured | Quarantined | Failed:
        """The times of `path` at the small training shape, as `lab.harness.bench` gives them."""
        from lab.harness.timing import CaseTimes

        todo = [
            CaseTimes.of(self.folder, case, "float32", self._engine)
            for case in self.folder.target.train_cases(SHAPE)
        ]
        session, ready = self._take(path)
        with session:
            try:
                ready.result()
            except Fault as fault:
                return Failed(reason=fault.reason, detail=fault.detail)
            arms = {
                "incumbent": self._incumbent("incumbent"),
                "candidate": session,
                "control": self._incumbent("control"),
            }
            return judge_bench(todo, arms, self._pool, pace)

    def close(self) -> None:
        """Ends every worker."""
        for session, ready in self._started.values():
            session.close()
            ready.exception()
        self.renew()
        self._pool.shutdown()

    def renew(self) -> None:
        """Ends the trusted workers; the next candidate meets fresh ones."""
        for session in self._trusted.values():
            session.close()
        self._trusted.clear()

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, path: Path) -> tuple[Session, Future[None]]:
        self.start(path)
        return self._started.pop(path)

    def _incumbent(self, arm: str) -> Session:
        if arm not in self._trusted:
            patience = Patience(total_s=LONG_S)
            self._trusted[arm] = self._session(self.folder.incumbent("torch"), patience)
        return self._trusted[arm]

    def _session(self, path: Path, patience: Patience) -> Session:
        return Session(path, self.folder.id, self._engine, ARENA_BYTES, patience)
