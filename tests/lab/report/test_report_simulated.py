"""The page shows what the Metal simulator found, gravest first, in its own words."""

from __future__ import annotations

import msgspec
import report_samples as samples
from test_page import Page

from lab import outcomes as o
from lab.report.page import page

CLEAN = o.Simulated(
    launches={"rmsnorm": 12, "rmsnorm_vjp": 9},
    runs=40,
    findings=(),
    traffic=(o.MetalTraffic(kernel="rmsnorm", elements=1000, bytes_moved=4500, bytes_least=4000),),
)


def finding(kind: str, severity: str, line: int, kernel: str = "rmsnorm") -> o.MetalFinding:
    return o.MetalFinding(
        kernel=kernel,
        kind=kind,
        severity=severity,  # type: ignore[arg-type]
        message=f"at byte {line} of out",
        part="body",
        line=line,
        thread=(1, 0, 0),
    )


def shown(simulated: o.Simulated | None, reason: str = "") -> Page:
    ledger = samples.Ledger()
    outcome = samples.failed("", reason) if reason else samples.passed()
    ledger.verified(msgspec.structs.replace(outcome, simulated=simulated), tier="simulated")
    return Page(page(ledger.lines))


def test_a_clean_run_says_so_and_claims_no_metal() -> None:
    found = shown(CLEAN)
    assert "launches of rmsnorm 12, rmsnorm_vjp 9; 40 runs with all checks" in found.text
    assert "Whether it runs on Metal, and how fast, is not known." in found.text
    assert "No finding in what it ran." in found.text
    assert ["rmsnorm", "1,000", "4.50", "4.00"] in found.rows


def test_findings_are_counted_by_kind_and_the_gravest_come_first() -> None:
    """A failure for one finding must not hide the others."""
    findings = (
        finding("schedule_rounding", "note", 3),
        finding("same_value_race", "warning", 5),
        finding("race", "error", 8),
        finding("out_of_bounds_read", "warning", 11),
        finding("race", "error", 9),
    )
    simulated = msgspec.structs.replace(CLEAN, findings=findings)
    found = shown(simulated, reason="metal_finding")
    rows = [row for row in found.rows if row[0] in ("error", "warning", "note")]
    assert [row[:3] for row in rows] == [
        ["error", "race", "2"],
        ["warning", "same_value_race", "1"],
        ["warning", "out_of_bounds_read", "1"],
        ["note", "schedule_rounding", "1"],
    ]
    assert [row[3] for row in rows] == [str(findings[at]) for at in (2, 1, 3, 0)]
    assert str(findings[4]) in found.text
    assert "5 findings in all" in found.text
    assert "No finding in" not in found.text


def test_a_kernels_name_cannot_write_into_the_page() -> None:
    """The candidate chooses the names of its kernels and buffers."""
    name = "<script>alert(1)</script>"
    launches, traffic = {name: 1}, (msgspec.structs.replace(CLEAN.traffic[0], kernel=name),)
    found = shown(
        o.Simulated(
            launches=launches,
            runs=1,
            findings=(finding("race", "error", 1, kernel=name),),
            traffic=traffic,
        )
    )
    assert not [tag for tag, _ in found.elements if tag == "script"]
    assert found.text.count(name) == 4  # launches, the table and the list of findings, bytes


def test_what_ran_on_the_device_says_nothing_of_a_simulator() -> None:
    assert "simulator" not in shown(None).text
