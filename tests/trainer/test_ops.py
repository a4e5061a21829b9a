"""The op seam: which implementation a run uses, and that it says so truthfully."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kernels.spec import discover
from trainer.errors import EngineError, UsageError
from trainer.ops import OpTable, read_registry, resolve

ENGINE, HARDWARE = "cpu", "Some CPU x2"
SOURCE = "def rmsnorm(x, eps):\n    return 'promoted'\n"


def registry(folder: Path, source: str = SOURCE, **changes: str) -> Path:
    """A registry with one promotion of `rmsnorm`, whose file is written beside it."""
    (folder / "promoted").mkdir(exist_ok=True)
    (folder / "promoted" / "rmsnorm.py").write_text(source)
    entry = {
        "op": "rmsnorm",
        "engine": ENGINE,
        "hardware": HARDWARE,
        "candidate_sha256": hashlib.sha256(SOURCE.encode()).hexdigest(),
        "file": "promoted/rmsnorm.py",
        **changes,
    }
    path = folder / "promoted.toml"
    lines = [f'{key} = "{value}"' for key, value in entry.items()]
    path.write_text("\n".join(["[[promotion]]", *lines, 'ledger_ids = ["a", "b"]']) + "\n")
    return path


def test_every_target_has_its_incumbent_by_default(tmp_path: Path) -> None:
    """With the hash of the file that is run, so that a log identifies the code."""
    table = resolve(ENGINE, HARDWARE, registry=tmp_path / "none.toml")
    assert list(table) == list(discover())
    for name, op in table.items():
        assert op.path == discover()[name].incumbent("torch")
        assert getattr(table, name) is op.function
        assert op.reason == ("in parts" if op.in_parts else "incumbent")
        assert op.in_parts == bool(discover()[name].target.parts)
        if op.in_parts:
            continue
        assert op.sha256 == hashlib.sha256(op.path.read_bytes()).hexdigest()


def test_a_target_without_an_incumbent_in_the_framework_is_no_seam_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two trainers gain seams one by one; the other engine must go on running."""
    folder = discover()["relu_squared"]
    for name in ("target.py", "incumbent_torch.py"):
        (tmp_path / "relu_squared").mkdir(exist_ok=True)
        (tmp_path / "relu_squared" / name).write_bytes((folder.path / name).read_bytes())
    monkeypatch.setattr("trainer.ops.discover", lambda: discover(tmp_path))
    assert list(resolve(ENGINE, HARDWARE)) == ["relu_squared"]
    assert list(resolve("mlx", HARDWARE)) == []
    with pytest.raises(UsageError, match="relu_squared"):
        resolve("mlx", HARDWARE, {"relu_squared": tmp_path})


LARGER, PART = "linear_softcap_cross_entropy", "softcap_cross_entropy"


def test_a_larger_op_takes_precedence_over_what_it_contains_aloud(tmp_path: Path) -> None:
    """Otherwise a log would name the hash of an op that never ran."""
    path = registry(tmp_path, op=LARGER)
    (tmp_path / "promoted" / "rmsnorm.py").write_text(f"def {LARGER}(*given): ...\n")
    assert resolve(ENGINE, HARDWARE, registry=path)[LARGER].in_parts  # another text: not run
    whole = discover()[LARGER].incumbent("torch")
    table = resolve(ENGINE, HARDWARE, {LARGER: whole}, path)
    assert not table[LARGER].in_parts
    assert table[PART].reason == f"incumbent; never called: {LARGER} contains it"
    assert resolve(ENGINE, HARDWARE, registry=path)[PART].reason == "incumbent"


def test_forcing_an_op_that_would_never_be_called_raises() -> None:
    """An A/B of it would compare the incumbent with itself."""
    forced = {name: discover()[name].incumbent("torch") for name in (LARGER, PART)}
    with pytest.raises(UsageError, match=f"--op {PART} would never be called"):
        resolve(ENGINE, HARDWARE, forced)


def test_the_hash_of_an_op_in_parts_changes_with_the_ops_it_contains(tmp_path: Path) -> None:
    """Being faster than parts that have since been replaced is no evidence."""
    path = registry(tmp_path, op=PART, source=SOURCE.replace("rmsnorm", PART))
    text = (tmp_path / "promoted" / "rmsnorm.py").read_bytes()
    changed = registry(
        tmp_path,
        op=PART,
        source=text.decode(),
        candidate_sha256=hashlib.sha256(text).hexdigest(),
    )
    before = resolve(ENGINE, HARDWARE, registry=tmp_path / "none.toml")[LARGER]
    after = resolve(ENGINE, HARDWARE, registry=changed)[LARGER]
    assert path == changed
    assert before.in_parts
    assert after.in_parts
    assert before.sha256 != after.sha256


def test_a_promotion_counts_on_its_engine_and_hardware_only(tmp_path: Path) -> None:
    """What was faster on one chip may be slower on the next."""
    path = registry(tmp_path)
    promoted = resolve(ENGINE, HARDWARE, registry=path)["rmsnorm"]
    assert promoted.function(None, None) == "promoted"
    assert promoted.reason.startswith("promoted ")
    assert resolve(ENGINE, "Other CPU x2", registry=path)["rmsnorm"].reason == "incumbent"
    assert resolve("cuda", HARDWARE, registry=path)["rmsnorm"].reason == "incumbent"


def test_a_promoted_file_that_was_edited_or_is_gone_falls_back_aloud(tmp_path: Path) -> None:
    """The evidence is for other bytes; running them would be running unjudged code."""
    path = registry(tmp_path, source=SOURCE + "# edited\n")
    op = resolve(ENGINE, HARDWARE, registry=path)["rmsnorm"]
    assert "edited" in op.reason
    assert op.path.name == "incumbent_torch.py"
    (tmp_path / "promoted" / "rmsnorm.py").unlink()
    assert "gone" in resolve(ENGINE, HARDWARE, registry=path)["rmsnorm"].reason


def test_a_forced_file_wins_over_a_promotion(tmp_path: Path) -> None:
    """--op is how a candidate meets the trainer."""
    path = registry(tmp_path)
    mine = tmp_path / "mine.py"
    mine.write_text("def rmsnorm(x, eps):\n    return 'mine'\n")
    op = resolve(ENGINE, HARDWARE, {"rmsnorm": mine}, path)["rmsnorm"]
    assert op.function(None, None) == "mine"
    assert op.reason == "forced by --op"


@pytest.mark.parametrize("source", ["", "def rmsnorm(:", "raise OSError('at import')"])
def test_a_forced_file_that_cannot_be_used_raises(tmp_path: Path, source: str) -> None:
    """An explicit choice is never replaced silently."""
    mine = tmp_path / "mine.py"
    mine.write_text(source)
    with pytest.raises(EngineError, match="rmsnorm"):
        resolve(ENGINE, HARDWARE, {"rmsnorm": mine})


def test_unknown_ops_are_told_with_the_nearest_name(tmp_path: Path) -> None:
    """In --op and in attribute access by the model's author."""
    with pytest.raises(UsageError, match="Did you mean 'rmsnorm'"):
        resolve(ENGINE, HARDWARE, {"rmsnrom": tmp_path})
    with pytest.raises(AttributeError, match="no op 'rmsnrom'"):
        _ = resolve(ENGINE, HARDWARE).rmsnrom


@pytest.mark.parametrize("text", ["not toml [", "[[promotion]]\nop = 'rmsnorm'\n", "promotion = 1"])
def test_a_malformed_registry_is_told_by_name(tmp_path: Path, text: str) -> None:
    """A merge conflict in promoted.toml must not look like 'nothing was promoted'."""
    path = tmp_path / "promoted.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"promoted\.toml"):
        read_registry(path)


def test_the_printed_table_has_name_hash_and_reason() -> None:
    """One line per op, which the A/B and readers of logs rely on."""
    table = resolve(ENGINE, HARDWARE)
    lines = table.lines()
    assert len(lines) == len(table) >= 5
    words = lines[0].split()
    assert words[:2] == ["op", next(iter(table))]
    assert table[words[1]].sha256.startswith(words[2])
    assert OpTable({}).lines() == []
