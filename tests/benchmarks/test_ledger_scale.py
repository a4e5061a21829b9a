"""A ledger of a million records: appending, verifying, and finding one candidate's evidence.

    uv run pytest tests/benchmarks/test_ledger_scale.py --benchmark-enable -q

Takes about 5 GB of the temporary folder and a few minutes, most of them for making the ledgers;
with `KERNEL_LAB_LEDGER_LINES=100000` less of both. Records are as long as real ones: a verification
of 30 tensors, a bench of 4 cases of 48 blocks, an A/B of 5 pairs; five targets; per candidate three
failed verifications, for half of them a bench, for one in twenty an A/B and a verdict. `cold` is
with neither file in the system's cache, where the system can be told to drop them.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pytest_benchmark.fixture import BenchmarkFixture

sys.path[:0] = [str(Path(__file__).parents[1] / "lab")]

from ledger_files import written  # noqa: E402
from made_records import (  # noqa: E402
    ABOUT,
    WANTED,
    benched,
    check,
    compared,
    opened,
    pairs,
    timing,
    tried,
    verified,
)

from lab.evidence import Evidence, collect, relevant  # noqa: E402
from lab.ledger import Ledger  # noqa: E402
from lab.ledger_index import Index  # noqa: E402
from lab.ledger_keys import Wanted  # noqa: E402
from lab.outcomes import Failed, Passed  # noqa: E402
from lab.records import Judged, Reason, Verdict  # noqa: E402
from lab.replay import replay  # noqa: E402

TARGETS = ("rmsnorm", "rope_qk_norm", "relu_squared", "softcap_cross_entropy", "muon")
LINES = int(os.environ.get("KERNEL_LAB_LEDGER_LINES", "1000000"))
FEW = 2_000
"""Lines where benchmarks are disabled: checks that this file still runs."""
VERIFY_S, EVIDENCE_S = 30.0, 1.0
"""What is promised for a million lines."""


def a_number(scale: float) -> float:
    """With as many digits as a measured one."""
    return random.uniform(0.5, 1.5) * scale


def parts() -> dict[str, Any]:
    """One record of each kind, as long as real ones."""
    random.seed(7)
    checks = tuple(
        replace(
            check(f"case-{number}"),
            **{name: a_number(1e-6) for name in check("").__struct_fields__[3:]},
        )
        for number in range(30)
    )
    blocks = [[a_number(2.0) for _ in range(48)] for _ in range(3)]
    reasons = tuple(Reason(rule=f"rule_{n}", holds=True, detail="x" * 120) for n in range(9))
    return {
        "opened": opened(),
        "failed": verified(Failed(reason="numeric", detail="x" * 200, checks=checks[:2])),
        "passed": verified(Passed(checks=checks)),
        "benched": benched(cases=[timing(f"case-{n}", *blocks, floor_ms=0.1) for n in range(4)]),
        "tried": tried(compared(pairs())),
        "judged": Judged(
            **ABOUT,
            verdict=Verdict(decision="hold", reasons=reasons),
            policy={"bench_speedup": 1.02, "step_alpha": 0.01},
            evidence=("0" * 26,) * 3,
            lines_read=1,
            incumbent_sha256="1" * 64,
            handle="rmsnorm-cpu-torch-0001",
            rules_sha256="2" * 64,
        ),
    }


def history(lines: int) -> Iterator[Any]:
    """That many records of many candidates, in the order in which a lab leaves them."""
    made = parts()
    count = candidate = 0
    while True:
        candidate += 1
        stages = ["opened"] * (candidate % 6 == 1) + ["failed"] * 3
        stages += ["passed"] * (candidate % 3 != 0) + ["benched"] * (candidate % 2 == 1)
        stages += ["tried", "judged"] * (candidate % 20 == 1)
        about = {
            "target": TARGETS[candidate // 6 % len(TARGETS)],
            "candidate_sha256": f"{candidate:064x}",
            "workspace": f"workspace-{candidate // 6}",
        }
        for stage in stages:
            yield replace(made[stage], **about)
            count += 1
            if count == lines:
                return


def evidence(ledger: Ledger, candidate: int) -> Evidence:
    """As `lab.context.evidence` asks for it."""
    sha256, target = f"{candidate:064x}", TARGETS[candidate // 6 % len(TARGETS)]
    found = ledger.find_any(*relevant(sha256, target, "cpu"))
    return collect(found, **{**WANTED, "candidate_sha256": sha256})


def drop_from_cache(path: Path) -> None:
    """Asks the system to forget a file's content."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture(scope="module")
def enabled(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("benchmark_enable"))


@pytest.fixture(scope="module")
def large(enabled: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """The ledger of a million lines; removed at the end, since it takes gigabytes."""
    count = LINES if enabled else FEW
    ledger = written(tmp_path_factory.mktemp("large") / "ledger.jsonl", history(count))
    yield ledger
    for path in ledger.path.parent.iterdir():
        path.unlink()


@pytest.mark.parametrize("share", [0.001, 0.1, 1.0], ids="{:g} of the lines".format)
def test_appending_is_as_fast_at_any_length(
    benchmark: BenchmarkFixture, large: Ledger, tmp_path: Path, share: float, enabled: bool
) -> None:
    """Reads the end and writes a line: what the ledger holds already must not matter."""
    count = int((LINES if enabled else FEW) * share)
    ledger = large if share == 1.0 else written(tmp_path / "ledger.jsonl", history(count))
    before = ledger.head().lines
    benchmark.extra_info["lines"] = before
    benchmark.pedantic(ledger.append, args=(opened(),), rounds=100, warmup_rounds=3)
    assert ledger.head().lines > before >= count


def test_verifying(benchmark: BenchmarkFixture, large: Ledger, enabled: bool) -> None:
    """Every byte is read and hashed, every line parsed, on one core."""
    report = benchmark.pedantic(large.verify, rounds=1)
    assert report.ok
    assert report.lines == large.head().lines
    benchmark.extra_info |= {"lines": report.lines, "bytes": large.path.stat().st_size}
    if enabled:
        assert benchmark.stats["max"] < VERIFY_S


def test_replaying_a_verdict(benchmark: BenchmarkFixture, large: Ledger) -> None:
    """The whole ledger, twice: its chain, then every record. A promotion waits for this."""
    (judged,) = large.newest(1, kind="judged")
    found = benchmark.pedantic(replay, args=(large, judged.id), rounds=1)
    assert found.line == judged.number
    assert not found.same  # the benchmark's verdicts are made up


def test_making_the_index(benchmark: BenchmarkFixture, large: Ledger) -> None:
    """What the first question to a ledger without an index costs, answer included."""
    index = Index(large.path).path

    def setup() -> tuple[tuple[Ledger, int], dict[str, Any]]:
        index.unlink(missing_ok=True)
        return (large, 1), {}

    found = benchmark.pedantic(evidence, setup=setup, rounds=1)
    assert found.tried is not None
    benchmark.extra_info["bytes"] = index.stat().st_size if index.exists() else 0


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_the_evidence_for_one_candidate(
    benchmark: BenchmarkFixture, large: Ledger, cache: str, enabled: bool
) -> None:
    """Its own records, and all other A/Bs of the same target."""
    candidates = iter(range(61, 10**9, 60))

    def setup() -> tuple[tuple[Ledger, int], dict[str, Any]]:
        if cache == "cold":
            for path in (large.path, Index(large.path).path):
                if path.exists():
                    drop_from_cache(path)
        return (large, next(candidates)), {}

    found = benchmark.pedantic(evidence, setup=setup, rounds=5)
    assert found.verified is not None
    assert found.tried is not None
    others = large.find_any(Wanted(kind="tried", target=found.tried.target, engine="cpu"))
    benchmark.extra_info["A/Bs of the target"] = sum(1 for _ in others)
    if enabled:
        assert benchmark.stats["max"] < EVIDENCE_S
