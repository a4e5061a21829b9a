"""Calls recorded in training: what is refused, what workers see of them, what they find."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import InProcess
from recorded_files import GRADIENT_SIZE, SHAPE, recording, write_recording
from safetensors import safe_open
from safetensors.torch import save_file

from kernels.spec import TargetFolder, discover
from lab.harness import inputs, oracle
from lab.harness.checking import CaseChecks
from lab.harness.recording import NotARecording, Recording, load, parse
from lab.harness.verify import VerifySettings, judge, verify
from lab.outcomes import Failed, Passed

FOLDERS = discover()
HONEST = "def toynorm(x, eps):\n    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()\n"


def verified(folder: TargetFolder, recording: Recording, source: str, path: Path) -> Any:
    """The recorded calls alone, checked in this process."""
    path.write_text(source)
    todo = [CaseChecks.of_recorded(folder, call, "cpu") for call in recording.calls]
    arena = max(one.slots * one.layout.slot_bytes for one in todo)
    with (
        ThreadPoolExecutor(max_workers=1) as pool,
        InProcess(path, folder.id, arena) as ours,
        InProcess(folder.incumbent("torch"), folder.id, arena) as theirs,
    ):
        return judge(todo, ours, theirs, pool)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_incumbent_and_starting_candidate_is_right_in_training(
    name: str, tmp_path: Path
) -> None:
    """Whatever the target: read, varied, run and judged as any other case."""
    folder = FOLDERS[name]
    found = recording(folder, tmp_path / "r.safetensors")
    assert [call.case.name for call in found.calls] == ["recorded_step_2", "recorded_step_9"]
    for source in (folder.incumbent("torch"), folder.starting_candidate("torch")):
        assert source is not None
        outcome = verified(folder, found, source.read_text(), tmp_path / "candidate.py")
        assert isinstance(outcome, Passed), outcome
        tensors = (*folder.target.outputs, *folder.target.differentiable)
        assert len(outcome.checks) == 2 * len(tensors)


WRONG_IN_TRAINING = {
    "numeric": HONEST.replace("return x", "x = x.where(x.std() > 0.1, x.abs())\n    return x"),
    "stale_output": "seen = {}\n"
    + HONEST.replace("return ", "return seen.setdefault(x.data_ptr(), ").rstrip()
    + ")\n",
}


@pytest.mark.parametrize(("reason", "source"), WRONG_IN_TRAINING.items())
def test_what_is_wrong_in_training_is_found(
    toy: TargetFolder, tmp_path: Path, reason: str, source: str
) -> None:
    """A candidate that is right on drawn inputs, or that remembers answers."""
    found = recording(toy, tmp_path / "r.safetensors")
    outcome = verified(toy, found, source, tmp_path / "candidate.py")
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason == reason
    assert outcome.case == "recorded_step_2"


def test_workers_never_see_a_recorded_call_itself(
    toy: TargetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording is the same at every verify: whoever saw it could know it the next time.

    Nor is everything that they see recorded: a round has drawn content, too.
    """
    found = recording(toy, tmp_path / "r.safetensors")
    shown: list[torch.Tensor] = []
    write = InProcess.write
    monkeypatch.setattr(
        InProcess, "write", lambda self, given: (shown.append(given), write(self, given))[1]
    )
    assert isinstance(verified(toy, found, HONEST, tmp_path / "c.py"), Passed)
    call = found.calls[0]
    rows, gradients = (t.double() for t in (*call.content.inputs, *call.content.incoming))
    kinds = set()
    for slot in (slot for given in shown for slot in given):
        content = inputs.unpack(call.layout, slot)
        (x,), (g,) = content.inputs, content.incoming
        assert not torch.equal(x, call.content.inputs[0])
        kinds.add(bool(x.std() < 0.1))
        if x.std() < 0.1 and torch.cdist(rows, x.double()).min() < 1e-4:
            order = torch.cdist(rows, x.double()).argmin(0)
            assert sorted(order.tolist()) == list(range(len(rows)))  # a permutation of its rows
            assert order.tolist() != list(range(len(rows)))
            factor = g.double() / gradients[order]
            assert 0.49 < float(factor.median()) < 2.01
            assert g.std() < 10 * GRADIENT_SIZE
    assert kinds == {True, False}


def test_a_target_without_an_independent_dim_is_varied_as_well(
    toy: TargetFolder, tmp_path: Path
) -> None:
    """Then nothing can change places, but every number moves."""
    call = recording(toy, tmp_path / "r.safetensors").calls[0]
    whole = replace(call, parts=1, axes=(None, None))
    varied = whole.varied(inputs.generator())
    assert not torch.equal(varied.inputs[0], call.content.inputs[0])
    torch.testing.assert_close(varied.inputs[0], call.content.inputs[0], rtol=1e-6, atol=0)


def test_tensors_lie_as_they_lay_in_training(toy: TargetFolder, tmp_path: Path) -> None:
    """A gradient that attention hands back transposed reaches the candidate transposed."""

    call = recording(toy, tmp_path / "r.safetensors").calls[0]
    rows = call.case.dims["rows"]
    (y,) = call.layout.incoming
    assert y.strides == (call.case.dims["width"], 1)
    path = tmp_path / "t.safetensors"
    spoil(tmp_path / "r.safetensors", path, strides={"incoming.y": [1, 99]})
    (y,) = parse(load(path), toy, SHAPE).calls[0].layout.incoming
    assert y.strides == (1, rows)


def test_large_calls_are_checked_in_part(toy: TargetFolder, tmp_path: Path) -> None:
    """The case has as many rows as were kept, and it still belongs to the training case."""
    found = recording(toy, tmp_path / "r.safetensors", limit_bytes=2**15)
    assert 1 <= found.calls[0].case.dims["rows"] < 64
    assert isinstance(verified(toy, found, HONEST, tmp_path / "c.py"), Passed)


def test_a_sum_over_more_than_was_kept_is_not_compared(tmp_path: Path) -> None:
    """A weight's gradient in training is of all rows, the oracle's of those that were kept."""
    folder = FOLDERS["fused_mlp"]
    found = recording(folder, tmp_path / "r.safetensors", limit_bytes=2**13)
    call = found.calls[0]
    assert call.case.dims["batch"] < SHAPE.batch
    dx, dup, ddown = call.gradients
    assert dx is not None
    assert dup is None
    assert ddown is None
    source = folder.incumbent("torch").read_text()
    assert isinstance(verified(folder, found, source, tmp_path / "c.py"), Passed)


def spoil(
    source: Path,
    path: Path,
    change: Callable[[dict[str, torch.Tensor]], None] = lambda tensors: None,
    strides: dict[str, list[int]] | None = None,
    **about: Any,
) -> None:
    """A copy of a recording with something changed."""
    with safe_open(source, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = json.loads(file.metadata()["recording"])
    change(tensors)
    for call in told["calls"]:
        call["strides"] |= strides or {}
    save_file(tensors, path, {"recording": json.dumps({**told, **about})})


SPOILED = {
    "another op": ({"op": "rmsnorm"}, "a recording of rmsnorm, not of toynorm"),
    "another format": ({"format": 0}, "format 0"),
    "no calls": ({"calls": []}, "holds no calls"),
    "more than we know": ({"extra": 1}, "damaged"),
    "a missing gradient": ({"change": lambda t: t.pop("1.gradient.x")}, "no gradient.x"),
    "a missing input": ({"change": lambda t: t.pop("0.input.x")}, "no input.x"),
    "another size": (
        {"change": lambda t: t.update({"0.input.x": torch.ones(64, 255)})},
        "belong to no training case",
    ),
    "another type": (
        {"change": lambda t: t.update({"0.input.x": torch.ones(64, 256, dtype=torch.float16)})},
        "dtype float16",
    ),
    "a result of another type": (
        {"change": lambda t: t.update({"0.output.y": torch.ones(64, 256).bfloat16()})},
        "output.y is torch.bfloat16",
    ),
    "NaN": ({"change": lambda t: t["0.incoming.y"].fill_(float("nan"))}, "not finite"),
    "no order of axes": ({"strides": {"input.x": [1]}}, "how input.x lay in memory"),
}


@pytest.mark.parametrize(("changes", "says"), SPOILED.values(), ids=list(SPOILED))
def test_what_is_no_recording_of_this_target_is_refused(
    toy: TargetFolder, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    """The file may come from a candidate's process: only its form can be trusted, once checked."""
    whole = write_recording(toy, tmp_path / "r.safetensors")
    spoil(whole, tmp_path / "s.safetensors", **changes)
    with pytest.raises(NotARecording, match=says):
        parse(load(tmp_path / "s.safetensors"), toy, SHAPE)


def test_other_constants_than_the_targets_are_refused(toy: TargetFolder, tmp_path: Path) -> None:
    """The oracle would be asked another question than training asked."""
    whole = write_recording(toy, tmp_path / "r.safetensors")
    with safe_open(whole, "pt") as file:
        calls = json.loads(file.metadata()["recording"])["calls"]
    calls[0]["scalars"] = [0.1]
    spoil(whole, tmp_path / "s.safetensors", calls=calls)
    with pytest.raises(NotARecording, match="never called with"):
        parse(load(tmp_path / "s.safetensors"), toy, SHAPE)


@pytest.mark.parametrize("which_case", [0, 1])
def test_a_call_keeps_its_own_scalars(which_case: int, tmp_path: Path) -> None:
    """Layers differ in their window: the oracle and the worker must both get that of the call."""
    folder, window = FOLDERS["sliding_window_attention"], SHAPE.windows[which_case]
    found = recording(folder, tmp_path / "r.safetensors", which_case=which_case)
    for call in found.calls:
        assert call.layout.scalars == call.content.scalars == (window,)
        varied = call.varied(inputs.generator())
        assert inputs.unpack(call.layout, inputs.pack(call.layout, [varied])[0]).scalars == (
            window,
        )
        expected = oracle.evaluate(folder, call.content)
        for right, told in zip(expected.tensors, call.results, strict=True):
            torch.testing.assert_close(told.double(), right, rtol=1e-4, atol=1e-6)


def test_a_window_that_no_layer_has_is_refused(tmp_path: Path) -> None:
    """A candidate's process could otherwise choose the easiest window for its checks."""
    folder = FOLDERS["sliding_window_attention"]
    other = replace(SHAPE, windows=(5,))
    with pytest.raises(NotARecording, match="never called with the scalars"):
        recording(folder, tmp_path / "r.safetensors", shape=other)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_torn_file_is_damaged(toy: TargetFolder, tmp_path: Path, keep: int) -> None:
    """A full disk, or a run that was killed."""
    data = load(write_recording(toy, tmp_path / "r.safetensors"))
    with pytest.raises(NotARecording, match="damaged"):
        parse(data[:keep], toy, SHAPE)


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    """A candidate's process may leave a link to what it may not read, and hope for a message."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("link", "cannot be read"), ("pipe", "plain file"), (".", "directory")):
        with pytest.raises(NotARecording, match=says):
            load(tmp_path / name)
    with pytest.raises(NotARecording, match="No such file"):
        load(tmp_path / "nothing")


def test_the_record_names_the_recording(toy: TargetFolder, tmp_path: Path) -> None:
    """In the sandbox, after the drawn cases, as the stage does it."""
    found = recording(toy, tmp_path / "r.safetensors", steps=(2,))
    candidate = tmp_path / "c.py"
    candidate.write_text(HONEST)
    outcome = verify(
        candidate,
        toy,
        toy.target.odd_cases[:1],
        engine="cpu",
        recording=found,
        settings=VerifySettings(dtypes=("float32",)),
    )
    assert isinstance(outcome, Passed), outcome
    assert outcome.recording == found.sha256
    assert [c.case for c in outcome.checks][-2:] == ["recorded_step_2"] * 2
