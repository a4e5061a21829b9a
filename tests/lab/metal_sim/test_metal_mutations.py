"""Whole kernels are clean and right; a bug planted into them is caught by what its entry says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from metal_cases import CASES, right, simulated
from metal_mutated import MUTATIONS
from metal_mutation import Mutation
from metal_table import BUGS, every

from lab.metal_sim import Report

Run = Callable[..., Report]
PLANTED = [(kernel, mutation) for kernel, group in MUTATIONS.items() for mutation in group]


@pytest.mark.parametrize("name", CASES)
def test_a_whole_kernel_is_right_and_raises_no_alarm(run: Run, name: str) -> None:
    report = simulated(run, CASES[name], CASES[name].body)
    alarms = [str(finding) for finding in report.findings if finding.severity != "note"]
    assert report.passed
    assert not alarms
    assert right(CASES[name], report)


@pytest.mark.parametrize(
    ("kernel", "mutation"), PLANTED, ids=[f"{kernel}: {each.name}" for kernel, each in PLANTED]
)
def test_a_planted_bug_is_caught_as_listed(run: Run, kernel: str, mutation: Mutation) -> None:
    case = CASES[kernel]
    assert case.body.count(mutation.old) == 1
    report = simulated(run, case, case.body.replace(mutation.old, mutation.new))
    found = {(finding.kind, finding.severity) for finding in report.findings}
    if mutation.found:
        assert (mutation.found, mutation.severity) in found, found
    else:
        assert {severity for _, severity in found} <= {"note"}, found
    numbers = "none" if report.outputs is None else "right" if right(case, report) else "wrong"
    assert numbers == mutation.numbers


def test_the_list_is_whole() -> None:
    """At least 60 bugs, of every class; a reason for each miss and for nothing else."""
    assert len(every()) >= 60
    assert {mutation.bug for mutation in every()} == set(BUGS)
    assert not [each for each in every() if bool(each.why) != (each.caught_by == "missed")]
