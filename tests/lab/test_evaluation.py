"""The clean evaluation in its sandbox, with a stand-in for the program that evaluates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import stand_in_trainer

from lab import evaluation
from lab.evaluation import Found, NotEvaluated
from lab.isolation import confines

STAND_IN = """
import json, os, socket, sys
from pathlib import Path
given = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "--checkpoint"]
beside = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "--beside"]
results = []
for folder in given:
    orders = json.loads(Path(folder, "state.json").read_text())
    for path in orders.get("reads", []):
        Path(path).read_text()
    for path in orders.get("writes", []):
        Path(path).write_text("here")
    if "connects" in orders:
        socket.create_connection(("127.0.0.1", orders["connects"]), timeout=5)
    if "dies" in orders:
        os.abort()
    if "hangs" in orders:
        import time
        time.sleep(1000)
    results.append(orders["says"])
print("a line before" if "silent" not in orders else "")
print(json.dumps({"results": results, "beside": len(beside)}) if "silent" not in orders else "")
"""


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "root" / "trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "evaluate.py").write_text(STAND_IN)
    monkeypatch.setattr(evaluation, "ROOT", tmp_path / "root")
    monkeypatch.setattr("lab.training_run.ROOT", tmp_path / "root")


def evaluate(
    folder: Path, *orders: dict[str, object], limit_s: float = 60.0, compared: bool = False
) -> list[Found]:
    """What the evaluation says of runs that left such checkpoints."""
    runs = []
    for number, order in enumerate(orders):
        checkpoint = folder / f"run{number}" / "checkpoint"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text(json.dumps(order))
        runs.append(checkpoint.parent)
    settings = stand_in_trainer.settings(folder, limit_s=limit_s, hide=(folder / "results",))
    (folder / "scratch").mkdir()
    return evaluation.evaluate(runs, "cpu", settings, folder / "scratch", runs if compared else ())


def test_each_checkpoint_is_told_in_order(tmp_path: Path) -> None:
    """With what there is to say of it beside the other run's."""
    apart = {"share": 0.25, "tensor": "head", "not_finite": ["a"]}
    says = [{"val_bpb": bits, "apart": apart, "compute_dtype": "float32"} for bits in (2.5, 2.6)]
    orders = [{"says": one} for one in says]
    compared = evaluate(tmp_path / "a", *orders, compared=True)
    assert compared == [Found(bits, 0.25, "head", ("a",), "float32") for bits in (2.5, 2.6)]
    assert evaluate(tmp_path / "b", *orders) == [Found(2.5), Found(2.6)]


@pytest.mark.parametrize(
    ("orders", "says"),
    [
        ({"dies": True}, "exit code"),
        ({"silent": True, "says": {}}, "cannot be read"),
        ({"says": {"val_bpb": "low"}}, "cannot be read"),
        ({"says": {"val_bpb": 2.5}}, "cannot be read"),
        ({"says": {"val_bpb": 2.5, "apart": 3}}, "cannot be read"),
        ({"says": 7}, "cannot be read"),
    ],
)
def test_what_cannot_be_evaluated_is_told(
    tmp_path: Path, orders: dict[str, object], says: str
) -> None:
    """A crash, or an answer that is none; never a number made up from it."""
    with pytest.raises(NotEvaluated, match=says):
        evaluate(tmp_path, orders, compared=True)


def test_an_evaluation_that_hangs_is_ended(tmp_path: Path) -> None:
    """A header that sends the reader round in circles must not stop the lab."""
    with pytest.raises(NotEvaluated, match="timeout"):
        evaluate(tmp_path, {"hangs": True}, limit_s=1.0)


def test_it_writes_nothing_and_reads_nothing_of_the_labs(tmp_path: Path) -> None:
    """A checkpoint that takes over the process that reads it finds itself in the arms' sandbox."""
    from lab.harness import isolation

    if not confines(isolation()):
        pytest.fail("no sandbox works on this machine, so this cannot be tested")
    (tmp_path / "results").mkdir()
    ledger = tmp_path / "results" / "ledger.jsonl"
    ledger.write_text("{}")
    for number, orders in enumerate(
        (
            {"reads": [str(ledger)]},
            {"writes": [str(tmp_path / "root" / "trainer" / "evaluate.py")]},
            {"writes": [str(tmp_path / "try2" / "run0" / "checkpoint" / "state.json")]},
        )
    ):
        with pytest.raises(NotEvaluated, match=r"No such file|Read-only|not permitted|denied"):
            evaluate(tmp_path / f"try{number}", {**orders, "says": {"val_bpb": 1.0}})


def test_it_has_no_network(tmp_path: Path) -> None:
    """Not even this machine's."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(NotEvaluated, match=r"refused|unreachable|not permitted|not supported"):
            evaluate(tmp_path, {"connects": port, "says": {"val_bpb": 1.0}})
