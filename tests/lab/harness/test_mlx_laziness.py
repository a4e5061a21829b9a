"""MLX is lazy: whatever a call hands back has been computed when the worker answers, on its clock.

The worker is asked in this process, where MLX's memory shows what has been computed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lab.harness.mlx_worker import MLXWorker

SIDE = 1024
ARRAY_BYTES = 4 * SIDE * SIDE
GRAPH = "import mlx.core as mx\n\n\ndef double(x):\n    return x + x\n"
WITHOUT_EVAL = "import mlx.core as mx\n\nmx.eval = mx.async_eval = lambda *given: None\n"


def asked(file: Path, text: str) -> MLXWorker:
    """A worker with the file's function and one call's inputs, of four megabytes each."""
    file.write_text(text)
    span = {"shape": [SIDE, SIDE], "strides": [SIDE, 1], "dtype": "float32", "offset": 0}
    memory = os.memfd_create("slots") if hasattr(os, "memfd_create") else _file(file)
    os.ftruncate(memory, 2 * ARRAY_BYTES)
    worker = MLXWorker()
    worker.parse(str(file))
    worker.start(memory, 2 * ARRAY_BYTES, "mlx")
    worker.import_("double")
    worker.arrange(
        slots=1,
        given_bytes=ARRAY_BYTES,
        result_bytes=ARRAY_BYTES,
        arguments=[{**span, "leaf": True}],
        incoming=[span],
        outputs=[span],
        gradients=[span],
        scalars=[],
    )
    worker.load(1)
    return worker


def _file(beside: Path) -> int:
    return os.open(beside.with_name("slots"), os.O_RDWR | os.O_CREAT)


def bytes_made(call: Any) -> int:
    """By how much MLX's memory grows."""
    before = mx.get_active_memory()
    call()
    return int(mx.get_active_memory() - before)


def test_memory_tells_a_graph_from_what_is_computed() -> None:
    """Or the tests below would prove nothing."""
    x, kept = mx.ones((SIDE, SIDE)), []
    mx.eval(x)
    assert bytes_made(lambda: kept.append(x + x)) < ARRAY_BYTES
    assert bytes_made(lambda: mx.eval(kept)) >= ARRAY_BYTES


@pytest.mark.parametrize("text", [GRAPH, WITHOUT_EVAL + GRAPH], ids=["graph", "mx_eval_replaced"])
@pytest.mark.parametrize(("differentiate", "arrays"), [(False, 1), (True, 2)])
def test_a_graph_is_computed_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, differentiate: bool, arrays: int
) -> None:
    """Result and gradient both. Otherwise they would cost nothing until they are handed over."""
    for name in ("eval", "async_eval"):  # to be put back after a candidate that replaces them
        monkeypatch.setattr(mx, name, getattr(mx, name))
    worker = asked(tmp_path / "candidate.py", text)
    made = bytes_made(lambda: worker.run(1, differentiate, "both"))
    assert made >= arrays * ARRAY_BYTES
    (result, gradients), *_ = worker.results
    assert np.array_equal(np.array(result), 2 * np.array(worker.slots[0].arguments[0]))
    assert len(gradients) == int(differentiate)
