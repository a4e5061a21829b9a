"""Candidates of one target, one after the other, against the same trusted worker.

    with Arena(folder, "cpu") as arena:
        arena.start(path)                 # its worker starts while another is judged
        outcome = arena.verify(path)
        outcome = arena.bench(path, pace)

Starting a worker takes seconds, most of it importing torch. The incumbent's is trusted, so it is
kept; every candidate gets a fresh one of its own, as in `verify`, whose judge decides here too.
Shapes are the target's odd cases and one small training shape.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.spec import Case, TargetFolder, TrainingShape
from lab.harness import BenchSettings, bench
from lab.harness.faults import Fault
from lab.harness.session import Session
from lab.harness.verify import judge as judge_verify
from lab.harness.worker_process import Patience
from lab.outcomes import Failed, Measured, Passed, Quarantined
from lab.simulated import simulates
from trainer.hardware import framework

if TYPE_CHECKING:
    from lab.harness.pace import Pace

SHAPE = TrainingShape(
    batch=2,
    sequence=64,
    width=128,
    heads=2,
    head_dim=64,
    vocab=512,
    layers=2,
    matrices=((2, 128, 512),),
    windows=(32, 64),
)
"""Small enough that hundreds of verifications take minutes."""
ARENA_BYTES = 2**26
LONG_S = 7200.0
"""The trusted worker outlives many candidates."""


class Arena:
    """The trusted worker of one target, and a stand for one candidate at a time."""

    def __init__(
        self, folder: TargetFolder, engine: str, patience: Patience, language: str = "torch"
    ) -> None:
        self.folder = folder
        self._engine = engine
        self._simulate = simulates(language, engine)
        self._patience = patience
        self._trusted: Session | None = None
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
            session = self._session(path, self._patience, self._simulate)
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
            return judge_verify(todo, session, self._incumbent(), self._pool)

    def bench(self, path: Path, pace: Pace) -> Measured | Quarantined | Failed:
        """The times of `path` at the small training shape. No worker is kept: clocks run."""
        settings = BenchSettings(pace=pace, arena_bytes=ARENA_BYTES, patience=self._patience)
        cases = self.folder.target.train_cases(SHAPE)
        return bench(path, self.folder, cases, engine=self._engine, settings=settings)

    def close(self) -> None:
        """Ends every worker."""
        for session, ready in self._started.values():
            session.close()
            ready.exception()
        self.renew()
        self._pool.shutdown()

    def renew(self) -> None:
        """Ends the trusted worker; the next candidate meets a fresh one."""
        if self._trusted is not None:
            self._trusted.close()
            self._trusted = None

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, path: Path) -> tuple[Session, Future[None]]:
        self.start(path)
        return self._started.pop(path)

    def _incumbent(self) -> Session:
        if self._trusted is None:
            incumbent = self.folder.incumbent(framework(self._engine))
            self._trusted = self._session(incumbent, Patience(total_s=LONG_S), simulate=False)
        return self._trusted

    def _session(self, path: Path, patience: Patience, simulate: bool) -> Session:
        where = (self.folder.id, self._engine, ARENA_BYTES, patience)
        return Session(path, *where, simulate=simulate)
