"""The trace that `kernel-lab profile` reads, and the scopes in it."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from small_run import SHORT, SMALL, run_train, small_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small_data(folder)
    return folder


@pytest.fixture
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`--data` of the small text, prepared."""
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(folder / "cache"))
    torch.set_num_threads(1)
    return f"--data={folder / 'text'}"


def test_trace_has_steps_and_scopes_and_a_sidecar(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """What `kernel-lab profile` reads."""
    path = tmp_path / "trace.json"
    code, out, err = run_train(capsys, data, *SHORT, f"--trace={path}", "--trace-steps=2")
    assert code == 0, err
    assert "---" not in out
    meta = json.loads((tmp_path / "trace.json.meta.json").read_text())
    assert len(meta["plain_step_ms"]) == len(meta["traced_step_ms"]) == 2
    assert (meta["config"], meta["engine"], meta["accumulation"]) == (asdict(SMALL), "cpu", 2)
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("ph") == "X"]
    counts: dict[str, int] = {}
    for event in events:
        counts[event["name"]] = counts.get(event["name"], 0) + 1
    micro_batches, layers = 2 * SMALL.accumulation, SMALL.depth
    assert counts["step"] == counts["op:data"] == 2
    assert counts["op:adamw"] == 2 * 4  # the head, the token embedding and two value embeddings
    assert counts["op:rmsnorm"] == micro_batches * (2 * layers + 2)
    assert counts["op:value_embedding"] == counts["op:value_embed_gate"] == micro_batches * 2
    assert counts["op:softcap_cross_entropy"] == micro_batches
    assert not Path(os.environ["KERNEL_LAB_RESULTS"]).exists()


def test_every_differentiable_op_lies_in_one_scope(
    capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path
) -> None:
    """Backward time is given to a scope by its forward op: one outside of all is lost time."""
    path = tmp_path / "trace.json"
    assert run_train(capsys, data, *SHORT, f"--trace={path}", "--trace-steps=1")[0] == 0
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("ph") == "X"]
    scopes = [e for e in events if e["name"].startswith("op:")]
    spans = sorted((e["ts"], e["ts"] + e["dur"], e["name"]) for e in scopes)
    for (_, end, name), (start, _, inner) in itertools.pairwise(spans):
        assert end <= start or inner == "op:muon_orthogonalize", (name, inner)
    backward = {
        e["args"]["Sequence number"]
        for e in events
        if e["name"].startswith("autograd::engine::evaluate_function")
        and e["args"].get("Sequence number", -1) >= 0
    }
    forward = [
        e
        for e in events
        if e.get("cat") == "cpu_op"
        and not e["name"].startswith("autograd")
        and e["args"].get("Sequence number", -1) in backward
        and e["args"].get("Fwd thread id", 0) == 0
    ]
    assert len(forward) > 100
    outside = {
        e["name"] for e in forward if not any(a <= e["ts"] and e["ts"] < b for a, b, _ in spans)
    }
    assert outside == set()
