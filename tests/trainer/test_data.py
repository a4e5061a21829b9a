"""Opening prepared data refuses what is not whole; batches are exact, endless and restartable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shards import prepared, shard

from prepare import prepare
from trainer.data import IGNORED, Batches, Prepared, open_prepared, validation_batches
from trainer.errors import DataError, UsageError
from trainer.token_cache import open_shard, write_shard
from trainer.tokenizer import train_tokenizer

BOS = 256


def texts(folder: Path, count: int = 24) -> Path:
    """A folder of small text files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        words = " ".join(f"word{(index * 7 + place) % 50}" for place in range(40 + 5 * index))
        (folder / f"text{index:02d}.txt").write_text(f"File {index}: {words}.\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return texts(tmp_path / "texts")


@pytest.fixture
def ready(folder: Path) -> Prepared:
    return prepare(str(folder), vocab_size=300)


def test_opening_gives_what_was_prepared(folder: Path, ready: Prepared) -> None:
    """The trainer sizes its embeddings and names its data by these."""
    opened = open_prepared(str(folder))
    assert opened.data_sha256 == ready.data_sha256
    assert opened.tokenizer_sha256 == ready.tokenizer_sha256
    assert opened.vocab == 300
    assert opened.token_bytes.tolist() == ready.tokenizer.token_bytes.tolist()
    files = {path.read_text() for path in folder.iterdir()}
    for split in ("train", "validation"):
        for part in opened.tokens(split):
            assert part.tokens.dtype == np.uint16
            for begin, end in zip(part.offsets[:-1], part.offsets[1:], strict=True):
                files.remove(opened.tokenizer.decode(part.tokens[begin:end]))
    assert files == set()


def test_opening_starts_a_run_at_once(ready: Prepared, folder: Path) -> None:
    """No text, tokens, Parquet or network library is touched before the first batch."""
    code = (
        "import sys\nfrom trainer.data import open_prepared\n"
        f"p = open_prepared({str(folder)!r})\n"
        "assert 'encoding' not in p.tokenizer.__dict__\n"
        "assert 'tokens' not in p.tokens('train')[0].__dict__\n"
        "print([m for m in ('torch', 'pyarrow', 'requests', 'tiktoken') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_what_is_not_prepared_names_the_command(tmp_path: Path) -> None:
    """The first thing that a new user meets."""
    with pytest.raises(DataError, match="'stdlib' is not prepared") as caught:
        open_prepared("stdlib")
    assert caught.value.hint == "Run: uv run prepare.py --data stdlib"
    folder = str(texts(tmp_path / "my texts", 2))
    with pytest.raises(DataError, match="is not prepared") as caught:
        open_prepared(folder)
    assert caught.value.hint == f"Run: uv run prepare.py --data '{folder}'"


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """A typing error must not look like a missing download."""
    with pytest.raises(UsageError, match="Did you mean 'climbmix'") as caught:
        open_prepared("climbmax")
    assert "stdlib" in caught.value.hint
    with pytest.raises(UsageError, match="does not exist"):
        open_prepared(str(tmp_path / "nothing"))


def test_a_folder_that_changed_is_not_trained_on_as_it_was(folder: Path, ready: Prepared) -> None:
    """The run would be recorded as trained on text that it never saw."""
    (folder / "more.txt").write_text("more text\n")
    with pytest.raises(DataError, match="have changed since") as caught:
        open_prepared(str(folder))
    assert caught.value.hint == f"Run: uv run prepare.py --data {folder} --vocab-size 300"


def test_a_folder_that_is_gone_is_still_served_by_its_caches(folder: Path, ready: Prepared) -> None:
    """The text may be large and deleted to save space."""
    shutil.rmtree(folder)
    assert open_prepared(str(folder)).data_sha256 == ready.data_sha256


def _cut_tokens(folder: Path) -> None:
    path = next(folder.glob("tokens/*/tokens.bin"))
    path.write_bytes(path.read_bytes()[:-2])


def _lose_offsets(folder: Path) -> None:
    next(folder.glob("tokens/*/offsets.bin")).unlink()


def _break_meta(folder: Path) -> None:
    next(folder.glob("tokens/*/meta.json")).write_text("{")


def _swap_tokens(folder: Path) -> None:
    first, second = sorted(folder.glob("tokens/*"))
    shutil.rmtree(first)
    shutil.copytree(second, first)


def _older_format(folder: Path) -> None:
    path = next(folder.glob("tokens/*/meta.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))


def _edit_tokenizer(folder: Path) -> None:
    path = next(folder.glob("tokenizer-*.json"))
    path.write_text(path.read_text().replace('"YQ=="', '"Yg=="'))


def _other_tokenizer(folder: Path) -> None:
    path = next(folder.glob("tokenizer-*.json"))
    train_tokenizer(["some other text"], 260).save(path)


def _cut_prepared(folder: Path) -> None:
    path = folder / "prepared.json"
    path.write_text(path.read_text()[:100])


def _forget_splits(folder: Path) -> None:
    path = folder / "prepared.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "splits": {}}))


DAMAGES = [
    _cut_tokens,
    _lose_offsets,
    _break_meta,
    _swap_tokens,
    _older_format,
    _edit_tokenizer,
    _other_tokenizer,
    _cut_prepared,
    _forget_splits,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_with_the_fix_and_the_fix_works(
    folder: Path, ready: Prepared, damage: Callable[[Path], None]
) -> None:
    """A half-written or mixed-up cache must never be trained on, nor need manual cleaning."""
    damage(ready.folder)
    with pytest.raises(DataError) as caught:
        open_prepared(str(folder))
    assert caught.value.hint.startswith(f"Run: uv run prepare.py --data {folder}")
    again = prepare(str(folder), vocab_size=300)
    assert open_prepared(str(folder)).data_sha256 == again.data_sha256 == ready.data_sha256
    assert again.tokenizer_sha256 == ready.tokenizer_sha256


def test_a_shard_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A reader that fails in the middle leaves nothing that looks like a cache."""
    tokenizer = train_tokenizer(["some text"], 260)

    def documents() -> object:
        yield "one"
        raise DataError("the file is damaged")

    with pytest.raises(DataError, match="the file is damaged"):
        write_shard(tmp_path / "shard", documents(), tokenizer, "sha")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the way out, and nothing half-written stays."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    tokenizer = train_tokenizer(["some text"], 260)
    monkeypatch.setattr("trainer.token_cache.os.fsync", full)
    with pytest.raises(DataError, match="disk is full") as caught:
        write_shard(tmp_path / "shard", ["one"], tokenizer, "sha")
    assert "KERNEL_LAB_CACHE" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_encoding_on_several_threads_keeps_the_order(tmp_path: Path) -> None:
    """Tokens in another order would be another data set under the same fingerprint."""
    documents = [f"document {index} " * (1 + index % 7) for index in range(700)]
    tokenizer = train_tokenizer(documents, 400)
    one = write_shard(tmp_path / "one", documents, tokenizer, "sha", threads=1)
    four = write_shard(tmp_path / "four", documents, tokenizer, "sha", threads=4)
    assert one.tokens.tobytes() == four.tokens.tobytes()
    assert one.offsets.tolist() == four.offsets.tolist()
    assert one.meta.text_bytes == sum(len(text) for text in documents)
    assert open_shard(tmp_path / "one", "sha", tokenizer.sha256).meta == one.meta


def made_up(documents: int = 40) -> Prepared:
    """Two training shards and a validation shard of different documents."""
    counts = [5 + index % 23 for index in range(documents)]
    return prepared([shard(counts), shard(counts[::-1], 50)], [shard(counts, 100)])


def test_targets_are_the_inputs_one_place_on() -> None:
    """An offset error makes the task trivial or impossible."""
    batches = Batches(made_up(), "train", batch=3, sequence=16, seed=1)
    for _ in range(5):
        inputs, targets = next(batches)
        assert inputs.shape == targets.shape == (3, 16)
        assert inputs.dtype == targets.dtype == np.int64
        assert (inputs[:, 1:] == targets[:, :-1]).all()
        assert (inputs[:, 0] == BOS).all()


def test_a_batch_is_never_written_again() -> None:
    """Upstream refills one buffer while it may still be on its way to the device."""
    batches = Batches(made_up(), "train", 2, 16)
    inputs, targets = next(batches)
    kept = inputs.copy(), targets.copy()
    next(batches)
    assert (inputs == kept[0]).all()
    assert (targets == kept[1]).all()


def test_the_batch_size_does_not_change_the_rows() -> None:
    """Gradient accumulation on a smaller device sees the same text."""
    small, large = (Batches(made_up(), "train", size, 16, seed=3) for size in (2, 6))
    rows = np.concatenate([next(small)[0] for _ in range(3)])
    assert (rows == next(large)[0]).all()


def test_a_resumed_run_sees_what_it_would_have_seen() -> None:
    """Exact resumption, across the end of an epoch and with another batch size."""
    batches = Batches(made_up(), "train", 2, 16, seed=5)
    while batches.epoch == 1:
        next(batches)
    state = json.loads(json.dumps(batches.state()))
    resumed = Batches(made_up(), "train", 4, 16, seed=5)
    resumed.restore(state)
    assert resumed.epoch == batches.epoch == 2
    expected = np.concatenate([next(batches)[1], next(batches)[1]])
    assert (next(resumed)[1] == expected).all()


def test_a_state_of_another_run_is_refused() -> None:
    """Resuming on other data would be neither the old run nor a new one."""
    state = Batches(made_up(), "train", 2, 16, seed=5).state()
    for other in (
        Batches(made_up(), "train", 2, 16, seed=6),
        Batches(made_up(), "train", 2, 15, seed=5),
        Batches(made_up(), "validation", 2, 16, seed=5),
    ):
        with pytest.raises(DataError, match="cannot go on in the data"):
            other.restore(state)
    batches = Batches(made_up(), "train", 2, 16, seed=5)
    with pytest.raises(DataError, match="data_sha256"):
        batches.restore({**state, "data_sha256": "other"})
    for damage in ({"buffer": [[9, 0, 1]]}, {"buffer": [[0, 0, 10**6]]}, {"buffer": 3}):
        with pytest.raises(DataError, match="is damaged"):
            batches.restore({**state, **damage})


def test_validation_does_not_depend_on_batch_or_seed() -> None:
    """val_bpb of two machines with different batch sizes must be the same number."""

    def scored(batch: int) -> list[list[int]]:
        rows: list[list[int]] = []
        for inputs, targets in validation_batches(made_up(), batch, 16, tokens=16 * 13):
            assert inputs.shape == targets.shape == (batch, 16)
            real = (targets != IGNORED).all(axis=1)
            assert (targets[~real] == IGNORED).all()
            rows += np.concatenate([inputs, targets], axis=1)[real].tolist()
        return rows

    assert scored(1) == scored(4) == scored(13) == scored(64)
    assert len(scored(4)) == 13


def test_validation_ends_after_one_pass() -> None:
    """Counting the same text twice would claim more evidence than there is."""
    data = made_up()
    batches = list(validation_batches(data, 4, 16, tokens=10**9))
    scored = sum(int((targets != IGNORED).sum()) for _, targets in batches)
    available = data.counts("validation")["tokens"] + data.counts("validation")["documents"]
    assert 0.9 * available < scored <= available
    assert len(list(validation_batches(data, 4, 16, tokens=1))) == 1


def test_too_little_text_for_a_row_is_told() -> None:
    """Otherwise one document would be repeated to fill the row."""
    data = prepared([shard([5, 5])], [shard([5])])
    with pytest.raises(DataError, match="12 tokens, fewer than one row of 17") as caught:
        Batches(data, "train", 1, 16)
    assert "--sequence" in caught.value.hint
    with pytest.raises(DataError, match="validation split"):
        next(validation_batches(data, 1, 16, 100))


def test_batches_that_cannot_be_are_refused() -> None:
    """A wrong call must not hang or divide by zero."""
    for wrong in ({"batch": 0}, {"sequence": 0}, {"rank": 2, "ranks": 2}):
        arguments = {"batch": 2, "sequence": 8, **wrong}
        with pytest.raises(UsageError, match="no batches of"):
            Batches(made_up(), "train", **arguments)
    with pytest.raises(UsageError, match="Did you mean 'validation'"):
        Batches(made_up(), "valid", 1, 8)  # type: ignore[arg-type]
