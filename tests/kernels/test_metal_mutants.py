"""Bugs planted into the starting candidates in Metal are found as metal_mutants.py says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import kernel_calls as calls
import metal_on_cpu
import mlx_calls
import pytest
import torch
from metal_mutant import Mutant
from metal_mutants import CASES, MUTANTS, counted, listed, misses, unseen
from test_metal_candidates import bounds, metal, theirs

from kernels.spec import Case
from lab.harness import tolerances
from lab.metal_sim import Builds

PLANTED = [(target, mutant) for target, group in MUTANTS.items() for mutant in group]


@cache
def expected(target: str) -> tuple[calls.Content, Mapping[str, tolerances.Bounds]]:
    """What the case gives the kernels, and what verify allows on it."""
    folder = calls.FOLDERS[target]
    content = calls.draw(folder, Case("planted", CASES[target]), torch.float32)
    incumbent = theirs(folder, content)
    right = calls.oracle(folder, content)
    return content, {tensor: bounds(tensor, right[tensor], incumbent) for tensor in right}


def seen_and_numbers(target: str, path: Path, builds: Builds) -> tuple[set[tuple[str, str]], str]:
    """Kind and severity of what was found, and what one run computed. Kernels that are as in the
    candidate run in fast mode, unless all are: then it is their launch that changed."""
    content, allowed = expected(target)
    unchanged = set(metal_on_cpu.kernels(metal(calls.FOLDERS[target])))
    if set(metal_on_cpu.kernels(path)) == unchanged:
        unchanged = set()
    numbers = "none"
    with metal_on_cpu.launches(builds, unchecked=unchanged) as seen:
        try:
            found = mlx_calls.call(
                calls.FOLDERS[target], metal_on_cpu.function(path, target), content
            )
        except metal_on_cpu.NoOutputs:
            pass
        else:
            within = [tolerances.distance(found[tensor], allowed[tensor]).ok for tensor in allowed]
            numbers = "right" if all(within) else "wrong"
    findings = {(each.kind, each.severity) for one in seen for each in one.report.findings}
    return findings, numbers


@pytest.mark.parametrize("target", MUTANTS)
def test_the_case_raises_nothing_without_a_bug(target: str, builds: Builds) -> None:
    path = metal(calls.FOLDERS[target])
    with metal_on_cpu.launches(builds) as seen:
        found = mlx_calls.call(
            calls.FOLDERS[target], metal_on_cpu.function(path, target), expected(target)[0]
        )
    assert not [finding for one in seen for finding in one.report.findings]
    allowed = expected(target)[1]
    assert all(tolerances.distance(found[tensor], allowed[tensor]).ok for tensor in allowed)


@pytest.mark.parametrize(
    ("target", "mutant"), PLANTED, ids=[f"{target}: {each.name}" for target, each in PLANTED]
)
def test_a_planted_bug_is_found_as_listed(
    target: str, mutant: Mutant, builds: Builds, tmp_path: Path
) -> None:
    text = metal(calls.FOLDERS[target]).read_text()
    assert text.count(mutant.old) == 1
    path = tmp_path / "metal.py"
    path.write_text(text.replace(mutant.old, mutant.new))
    findings, numbers = seen_and_numbers(target, path, builds)
    if mutant.found:
        assert (mutant.found, mutant.severity) in findings, findings
    else:
        assert {severity for _, severity in findings} <= {"note"}, findings
    assert numbers == mutant.numbers


def test_the_list_is_whole() -> None:
    """At least four bugs in every candidate; a reason for each miss only."""
    assert MUTANTS.keys() == calls.FOLDERS.keys()
    assert all(len(group) >= 4 for group in MUTANTS.values())
    assert not [
        mutant for _, mutant in PLANTED if bool(mutant.why) != (mutant.caught_by == "missed")
    ]


def test_the_pages_show_the_list(checkout: Path) -> None:
    page = (checkout / "docs" / "metal.md").read_text()
    assert counted() in page
    assert unseen() in page
    assert misses() in page
    assert listed() in (checkout / "docs" / "metal-bugs.md").read_text()
