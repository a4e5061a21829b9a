"""Every target folder is whole, short, layered, and honest about its cases and costs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import kernel_calls as calls
import numpy as np
import pytest

from kernels.spec import Case, TargetFolder
from lab.outcomes import FailureReason
from trainer.config import PRESETS, training_shape

FIRST_FIVE = {
    "muon_orthogonalize",
    "relu_squared",
    "rmsnorm",
    "rope_qk_norm",
    "softcap_cross_entropy",
}
IMPLEMENTATIONS = [
    path
    for folder in calls.FOLDERS.values()
    for path in (
        folder.reference,
        folder.incumbent("torch"),
        folder.path / "candidates" / "torch.py",
        *folder.cheats,
        folder.incumbent("mlx"),
        folder.path / "candidates" / "mlx.py",
        *folder.mlx_cheats,
    )
]
CHEATS = [path for path in IMPLEMENTATIONS if "cheats" in path.parts]
CANDIDATES = [path for path in IMPLEMENTATIONS if path.parent.name == "candidates"]


def label(path: Path) -> str:
    return f"{path.relative_to(path.parents[1]).with_suffix('')}"


every_file = pytest.mark.parametrize("path", IMPLEMENTATIONS, ids=label)


def test_the_first_five_targets_are_found() -> None:
    """A folder that discovery misses is an op that nobody can open, profile or replace."""
    assert set(calls.FOLDERS) >= FIRST_FIVE


@calls.every_target
def test_a_folder_has_all_its_parts(folder: TargetFolder) -> None:
    """`open`, `verify` and `self-test` each need one of these files."""
    assert folder.reference.is_file()
    for framework in ("torch", "mlx"):
        assert folder.incumbent(framework).is_file()
        assert folder.starting_candidate(framework) is not None
    assert len(folder.cheats) >= 4
    assert len(folder.mlx_cheats) >= 3
    assert folder.target.summary


def test_larger_ops_are_made_of_what_there_is_and_do_not_overlap() -> None:
    """Two that share a part could not both run, and recording them takes one run for all."""
    larger = [folder.target for folder in calls.FOLDERS.values() if folder.target.parts]
    parts = [part for target in larger for part in target.parts]
    assert len(set(parts)) == len(parts)
    for target in larger:
        assert set(target.contains) <= set(target.parts) & set(calls.FOLDERS)
        assert not any(calls.FOLDERS[part].target.parts for part in target.contains)


@every_file
def test_a_file_defines_the_function_with_the_targets_arguments(path: Path) -> None:
    """Every implementation is called by position with the inputs and then the scalars."""
    folder = next(f for f in calls.FOLDERS.values() if f.path in path.parents)
    tree = ast.parse(path.read_text())
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == folder.id]
    assert len(found) == 1
    names = f"({', '.join(a.arg for a in found[0].args.args)})"
    assert names == folder.target.signature


@every_file
def test_an_implementation_imports_nothing_of_ours(path: Path) -> None:
    """It must run in a sandbox that has its framework and not this repository."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
    framework = "mlx" if "mlx" in path.stem or path.parent.name == "mlx" else "torch"
    assert imported <= {framework, "math", "typing"}


@pytest.mark.parametrize("path", CANDIDATES, ids=lambda path: path.parents[1].name)
def test_a_candidate_keeps_no_state_between_calls(path: Path) -> None:
    """What is kept from one call to the next is a cache, and a cache is what cheats are made of."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global | ast.Nonlocal)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            assert node.value is not None
            kinds = {type(part) for part in ast.walk(node.value)}
            assert not kinds & {ast.List, ast.Dict, ast.Set, ast.Call, ast.ListComp}, node.lineno


@every_file
def test_a_file_is_short_and_says_what_it_is(path: Path) -> None:
    """These files are read by people who are about to write their own."""
    assert len(path.read_text().splitlines()) <= 150
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", CHEATS, ids=label)
def test_a_cheat_says_in_one_line_what_it_tries_and_how_it_fails(path: Path) -> None:
    """`self-test` takes the reason from there and compares it with what verify says."""
    lines = path.read_text().splitlines()
    found = re.fullmatch(r'""".+\. Expected: (\w+)"""', lines[0])
    assert found
    assert found[1] in get_args(FailureReason)


@calls.every_target
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_training_cases(folder: TargetFolder, preset: str) -> None:
    """A preset without training cases has nothing to bench."""
    target = folder.target
    cases = target.train_cases(training_shape(PRESETS[preset], vocab=8192))
    assert cases
    assert all(case.purpose == "train" for case in cases)
    names = [case.name for case in (*cases, *target.odd_cases)]
    assert len(set(names)) == len(names)


@calls.every_case
def test_a_case_is_drawn_in_its_shape_and_from_the_generator(name: str, case: Case) -> None:
    """Inputs that ignore the generator could be learnt by heart; a wrong shape stops verify."""
    target = calls.FOLDERS[name].target
    for one in target.inputs:
        shape = case.shape(one.shape)
        first, second, again = (
            one.draw(np.random.default_rng(seed), case.dims, shape) for seed in (1, 2, 1)
        )
        assert first.shape == shape
        assert first.dtype == (np.int64 if one.kind == "index" else np.float64)
        assert np.isfinite(first).all()
        assert np.array_equal(first, again)
        if one.scaled and one.kind == "float":
            assert not np.array_equal(first, second)


@calls.every_target
def test_odd_cases_cover_what_breaks_kernels(folder: TargetFolder) -> None:
    """Sizes that no block divides, gaps between rows, large values, and tiny gradients."""
    cases = folder.target.odd_cases
    sizes = {size for case in cases for size in case.dims.values()}
    assert sizes >= {1, 127, 513}
    assert {"strided"} <= {case.layout for case in cases}
    assert max(case.scale for case in cases) >= 1e3
    if folder.target.differentiable:
        assert min(case.gradient_scale for case in cases) <= 1e-8
    assert all(case.purpose == "odd" for case in cases)


NOT_MOVED = {
    # The gate reads some channels of x, and the gradient of value is the incoming one as it is.
    "value_embed_gate": lambda dims: (
        dims["batch"] * dims["sequence"] * (dims["width"] - dims["channels"]),
        dims["batch"] * dims["sequence"] * dims["heads"] * dims["head_dim"],
    )
}
"""Elements of inputs that no kernel has to read forward, and of gradients that none must write."""


@calls.every_case
def test_costs_are_at_least_the_inputs_and_outputs(name: str, case: Case) -> None:
    """The floor under which a timing is impossible must hold for every correct kernel."""
    target = calls.FOLDERS[name].target
    cost = target.cost(case.dims, 4)
    width = {"float": 4, "index": 8}
    given = sum(int(np.prod(case.shape(i.shape))) * width[i.kind] for i in target.inputs)
    made = sum(int(np.prod(case.shape(o.shape))) * 4 for o in target.outputs)
    unread, unwritten = NOT_MOVED.get(name, lambda dims: (0, 0))(case.dims)
    assert cost.bytes_forward == given + made - 4 * unread
    assert cost.flops_forward > 0
    assert (cost.bytes_backward > 0) == (cost.flops_backward > 0) == bool(target.differentiable)
    if target.differentiable:
        leaves = [i for i in target.inputs if i.differentiable]
        gradients = sum(int(np.prod(case.shape(i.shape))) * 4 for i in leaves)
        assert cost.bytes_backward >= gradients + made - 4 * unwritten
