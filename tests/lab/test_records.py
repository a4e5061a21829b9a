"""A record says by its type what was found: what must not be claimed cannot be written."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from made_records import ABOUT, INCUMBENT, MACHINE, benched, calibrated, opened, tried, verified

from lab.outcomes import Broken, Failed, Quarantined
from lab.records import Demoted, HotOp, Judged, Line, Profiled, Promoted, Reason, SetAside, Verdict

HOT = HotOp(
    op="rmsnorm",
    target=True,
    share=0.1,
    calls=3,
    time_ms=1.0,
    forward_ms=0.5,
    backward_ms=0.5,
    bytes_moved=1,
    flops=1,
    roofline_ms=0.5,
    ceiling_removed=1.1,
    ceiling_roofline=1.05,
)
EVERY = (
    Profiled(
        machine=MACHINE,
        engine="cpu",
        preset="tour",
        step_ms=(1.0,),
        covered=0.97,
        bandwidth_gb_s=10.0,
        peak_gflop_s=100.0,
        ops=(HOT,),
    ),
    opened(),
    verified(),
    verified(Failed(reason="gradient", detail="dx")),
    benched(),
    benched(Quarantined(reason="faster_than_light", detail="0.1 ms")),
    tried(),
    tried(Broken(reason="diverged", detail="NaN")),
    calibrated(),
    Judged(
        **ABOUT,
        verdict=Verdict(decision="hold", reasons=(Reason(rule="ab", holds=False, detail=""),)),
        policy={"tier": "device", "bpb_margin": 0.002, "minimum_pairs": 3},
        evidence=("0" * 26,),
        lines_read=7,
        incumbent_sha256="1" * 64,
        handle="rmsnorm-cpu-torch-0001",
        rules_sha256="2" * 64,
    ),
    Promoted(**ABOUT, verdict_id="0" * 26, file="kernels/rmsnorm/promoted/c.py"),
    Demoted(machine=MACHINE, target="rmsnorm", engine="cpu", candidate_sha256="c" * 64, why="slow"),
    SetAside(machine=MACHINE, file="ledger.jsonl.torn-0", bytes_set_aside=3),
)


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_every_kind_of_record_reads_back_as_itself(record: Any) -> None:
    """A record that changes on its way through JSON would change what the gate decides on."""
    assert msgspec.json.decode(msgspec.json.encode(record), type=Line) == record


def test_every_kind_of_line_is_tried_here() -> None:
    """A kind added later must be added to this file's list, too."""
    assert {type(record) for record in EVERY} == set(get_args(Line))


@pytest.mark.parametrize(
    ("record", "field"),
    [(EVERY[3], "speedup"), (EVERY[3], "timings"), (EVERY[5], "speedup"), (EVERY[7], "val_bpb")],
)
def test_a_failure_has_no_room_for_a_gain(record: Any, field: str) -> None:
    """Slow-but-wrong cannot be written: the outcome decides which fields exist."""
    plain = msgspec.to_builtins(record)
    plain["outcome"][field] = 2.0
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(plain, type=Line)


def test_records_cannot_be_changed_after_the_fact() -> None:
    """A stage that could edit another's record would need no evidence."""
    record = tried()
    with pytest.raises(AttributeError):
        record.incumbent_sha256 = "0" * 64  # type: ignore[misc]
    assert record.incumbent_sha256 == INCUMBENT
