"""A verdict can be reached again from the ledger alone, and one that cannot is found out."""

from __future__ import annotations

import ast
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from ledger_files import lines_of
from made_records import (
    ABOUT,
    CANDIDATE,
    INCUMBENT,
    WANTED,
    benched,
    calibrated,
    compared,
    opened,
    pairs,
    tried,
    verified,
)
from msgspec.structs import replace

from lab import ledger_index, replay
from lab.cli import cli
from lab.errors import CommandError, MachineError
from lab.evidence import collect, relevant
from lab.gate import judge
from lab.ledger import Ledger
from lab.ledger_index import Index
from lab.outcomes import Failed
from lab.policy import Policy
from lab.records import Judged, Promoted, Reason, Verdict

ROOT = Path(__file__).resolve().parents[2]
FAILED = Failed(reason="gradient", detail="dx")
HANDLE = "/somewhere/else/rmsnorm"


def judged(ledger: Ledger, policy: Policy | None = None, **changes: Any) -> Judged:
    """The gate's verdict on what `ledger` holds, not appended yet."""
    policy = policy or Policy()
    lines = ledger.find_any(*relevant(CANDIDATE, "rmsnorm", "cpu"))
    evidence = collect(lines, **WANTED, incumbent_sha256=INCUMBENT, workspace=HANDLE)
    fields: dict[str, Any] = {
        "verdict": judge(evidence, policy),
        "policy": msgspec.to_builtins(policy),
        "evidence": evidence.ids,
        "lines_read": ledger.head().lines,
        "incumbent_sha256": INCUMBENT,
        "handle": HANDLE,
        "rules_sha256": replay.rules_sha256(),
    }
    return Judged(**{**ABOUT, **fields, **changes})


def ledger_of(path: Path, *records: Any) -> Ledger:
    ledger = Ledger(path / "ledger.jsonl")
    for record in records:
        ledger.append(record)
    return ledger


DECIDED: dict[str, tuple[Any, ...]] = {
    "promote": (opened(), verified(), benched(), tried(), calibrated()),
    "hold": (opened(), verified(), benched(), calibrated()),
    "reject": (opened(), verified(), benched(), tried(), calibrated(), verified(FAILED)),
}


@pytest.mark.parametrize("decision", DECIDED)
def test_the_same_verdict_comes_out_again(tmp_path: Path, decision: str) -> None:
    """With every reason and its numbers, and whatever was recorded since."""
    ledger = ledger_of(tmp_path, *DECIDED[decision])
    record = ledger.append(judged(ledger))
    assert record.verdict.decision == decision
    for later in (verified(FAILED), tried(compared(pairs(speedup=0.5))), verified()):
        found = replay.replay(ledger, record.id)
        assert found.same
        assert found.verdict == record.verdict
        assert found.differences == found.notes == ()
        assert found.line == len(DECIDED[decision]) + 1
        ledger.append(later)


def test_a_record_that_came_in_while_the_gate_judged_does_not_count(tmp_path: Path) -> None:
    """Sixteen writers share a ledger: between reading and writing another's line may come in."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    record = judged(ledger)
    ledger.append(verified(FAILED))
    assert replay.replay(ledger, ledger.append(record).id).same


def test_a_verdict_that_the_evidence_does_not_bear_is_found_out(tmp_path: Path) -> None:
    """Somebody writes `promote` under a chain that is whole."""
    ledger = ledger_of(tmp_path, *DECIDED["hold"])
    true = judged(ledger)
    reasons = tuple(Reason(rule=r.rule, holds=True, detail=r.detail) for r in true.verdict.reasons)
    forged = ledger.append(replace(true, verdict=Verdict(decision="promote", reasons=reasons)))
    assert ledger.verify().ok
    found = replay.replay(ledger, forged.id)
    assert not found.same
    assert [difference.what for difference in found.differences] == [
        *("decision", "ab", "ab_step_time", "ab_val_bpb")
    ]
    assert found.differences[0].recorded == "promote"
    assert found.differences[0].replayed == "hold"
    assert found.differences[1].replayed.startswith("does not hold: no training runs compared")


def test_evidence_that_is_not_named_or_not_there_is_found_out(tmp_path: Path) -> None:
    """A verdict names its records; others cannot have decided it."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    record = ledger.append(replace(judged(ledger), evidence=("0" * 26,)))
    (difference,) = replay.replay(ledger, record.id).differences
    assert difference.what == "evidence"
    assert difference.recorded == "0" * 26
    assert difference.replayed.count(",") == 3


def test_a_verdict_cannot_claim_lines_behind_itself(tmp_path: Path) -> None:
    """Evidence comes first, whatever number a record gives."""
    ledger = ledger_of(tmp_path, *DECIDED["hold"])
    early = ledger.append(replace(judged(ledger_of(tmp_path)), lines_read=99))
    ledger.append(tried())
    assert replay.replay(ledger, early.id).verdict.decision == "hold"


def test_the_policy_of_that_day_decides(tmp_path: Path) -> None:
    """A stricter default of today must not make yesterday's verdict look forged."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    strict = ledger.append(judged(ledger, Policy(bench_speedup=2.0)))
    assert strict.verdict.decision == "reject"
    assert replay.replay(ledger, strict.id).same


def test_a_policy_with_other_fields_is_told(tmp_path: Path) -> None:
    """Fields come and go with versions; what cannot be replayed as it was is said."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    record = judged(ledger)
    policy = {name: value for name, value in record.policy.items() if name != "step_alpha"}
    record = ledger.append(replace(record, policy={**policy, "bench_luck": 0.5}))
    found = replay.replay(ledger, record.id)
    assert found.same
    assert "do not know: bench_luck" in found.notes[0]
    assert "older than step_alpha" in found.notes[1]


def test_other_rules_are_told_and_not_called_tampering(tmp_path: Path) -> None:
    """The gate is mended now and then; its old verdicts were honest."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    machine = replace(ABOUT["machine"], git_commit="f00d" * 10, git_dirty=True)
    changes = {"rules_sha256": "9" * 64, "machine": machine}
    record = ledger.append(judged(ledger, **changes))
    found = replay.replay(ledger, record.id)
    assert found.same
    assert "the rules changed since: it was judged by 999999999999" in found.notes[0]
    assert "git commit f00df00df00d, changed" in found.notes[0]


def test_every_file_that_judges_is_part_of_the_rules() -> None:
    """A change in a file that is left out would make an honest verdict look forged."""
    files = {path.name for path in replay.RULES}
    needed, seen = ["gate"], set()
    while needed:
        name = needed.pop()
        if name in seen:
            continue
        seen.add(name)
        text = (ROOT / "lab" / f"{name}.py").read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module == "lab":
                needed += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("lab."):
                needed.append(str(node.module).removeprefix("lab."))
    judging_nothing = {"records", "outcomes", "ledger_keys"}  # types, and where to look
    assert {f"{name}.py" for name in seen - judging_nothing} <= files


def test_a_broken_chain_is_not_replayed(tmp_path: Path) -> None:
    """An edited sample would be replayed to a fine verdict."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    record = ledger.append(judged(ledger))
    lines = lines_of(ledger)
    lines[2] = lines[2].replace(b'"control_ms":[2.0', b'"control_ms":[2.1')
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(MachineError, match="line 3: edited"):
        replay.replay(ledger, record.id)


def test_an_index_that_hides_a_failure_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index can be edited without a trace in the ledger, so nothing is promoted by it alone."""
    monkeypatch.setattr(ledger_index, "TAIL_BYTES", 1)
    ledger = ledger_of(tmp_path, *DECIDED["reject"])
    assert judged(ledger).verdict.decision == "reject"
    with closing(sqlite3.connect(Index(ledger.path).path)) as base:
        base.execute("DELETE FROM line WHERE start = (SELECT max(start) FROM line)")
        base.commit()
    record = ledger.append(judged(ledger))
    assert record.verdict.decision == "promote"
    found = replay.replay(ledger, record.id)
    assert [difference.what for difference in found.differences][:2] == ["decision", "evidence"]
    assert found.verdict.decision == "reject"


def test_records_are_named_by_any_clear_beginning_of_their_id(tmp_path: Path) -> None:
    """26 digits are not typed; and who has a promotion asks for its verdict."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    first = ledger.append(judged(ledger))
    promoted = ledger.append(Promoted(**ABOUT, verdict_id=first.id, file="x.py"))
    second = ledger.append(judged(ledger))
    assert replay.replay(ledger, promoted.id).judged == first.id
    shared = next(n for n in range(27) if first.id[:n] != second.id[:n]) - 1
    with pytest.raises(CommandError, match=r"fits [23] records"):
        replay.replay(ledger, first.id[:shared])
    assert replay.replay(ledger, second.id[:-1]).judged == second.id
    for wrong in ("", "no-such", next(ledger.read()).id):
        with pytest.raises(CommandError, match="no verdict or promotion"):
            replay.replay(ledger, wrong)


def test_the_command_and_its_exit_codes(tmp_path: Path) -> None:
    """0: the same; 1: not the same; 2: no such record. In words and as JSON."""
    ledger = ledger_of(tmp_path, *DECIDED["hold"])
    true = ledger.append(judged(ledger))
    verdict = replace(true.verdict, decision="promote")
    forged = ledger.append(replace(judged(ledger), verdict=verdict))

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["--ledger", str(ledger.path), "gate", *words])
        return done.exit_code, " ".join(done.output.split())

    code, told = run("--replay", true.id)
    assert (code, "the same verdict" in told, "HOLD" in told) == (0, True, True)
    code, told = run("--replay", forged.id)
    assert (code, "ANOTHER VERDICT" in told) == (1, True)
    code, told = run("--replay", forged.id, "--json")
    assert code == 1
    assert json.loads(told)["differences"] == [
        {"what": "decision", "recorded": "promote", "replayed": "hold"}
    ]
    assert run("--replay", "no-such")[0] == 2
    assert run()[0] == run("a-workspace", "--replay", true.id)[0] == 2


def test_a_replay_needs_nothing_but_the_ledger(tmp_path: Path) -> None:
    """An auditor has the file, and neither the results folder nor torch."""
    ledger = ledger_of(tmp_path, *DECIDED["promote"])
    record = ledger.append(judged(ledger))
    alone = tmp_path / "alone"
    alone.mkdir()
    ledger.path.rename(alone / "evidence.jsonl")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['torch'] = None\n"
        "from lab.cli import cli\n"
        f"cli(['--ledger', 'evidence.jsonl', 'gate', '--replay', {record.id!r}])"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=alone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same verdict" in done.stdout
    assert [path.name for path in alone.iterdir()] == ["evidence.jsonl"]
