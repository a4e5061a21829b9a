"""Data sets: the right text, divided without overlap, named by what it contains."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from shard_server import ShardServer, parquet

from trainer.datasets import Climbmix, LocalFiles, Stdlib, absolute, resolve
from trainer.documents import Fingerprints, cut_text
from trainer.errors import DataError, UsageError
from trainer.parts import Part, Work, fingerprint
from trainer.transfer import Policy


class Told:
    """Collects data sets and keeps what was said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notices: list[str] = []

    def work(self) -> Work:
        return Work(
            self.folder / "downloads",
            Fingerprints(self.folder / "fingerprints.json"),
            lambda label, done, total: None,
            self.notices.append,
            "uv run prepare.py",
            Policy(sleep=lambda seconds: None),
        )

    def __call__(self, path: Path, column: str = "text") -> tuple[Part, ...]:
        return LocalFiles(str(path), path.resolve(), column).collect(self.work())


@pytest.fixture
def collect(tmp_path: Path) -> Told:
    return Told(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


def documents(parts: Sequence[Part], split: str) -> list[str]:
    return [text for part in parts if part.split == split for text in part.documents()]


def assert_divided(parts: Sequence[Part], texts: Sequence[str]) -> None:
    """Every text is in one split and one only, and both have some."""
    train, validation = documents(parts, "train"), documents(parts, "validation")
    assert sorted(train + validation) == sorted(texts)
    assert train
    assert validation
    assert not set(train) & set(validation)


def test_the_standard_library_is_real_text_without_its_tests(tmp_path: Path) -> None:
    """The embedded default has to be there on every machine, and be the same text each time."""
    told = Told(tmp_path)
    parts = Stdlib().collect(told.work())
    train, validation = documents(parts, "train"), documents(parts, "validation")
    size = sum(len(text.encode()) for text in (*train, *validation))
    assert size > 3_000_000
    assert 0.05 < sum(map(len, validation)) / size < 0.25
    root = Path(sysconfig.get_path("stdlib"))
    texts = {*train, *validation}
    assert (root / "argparse.py").read_text(encoding="utf-8") in texts
    assert not any("class TestArgumentParser" in text for text in texts)
    assert fingerprint(parts) == fingerprint(Stdlib().collect(told.work()))


def test_a_standard_library_like_tree(tmp_path: Path) -> None:
    """Installed packages, tests and what the build wrote are not the library's text."""
    told = Told(tmp_path)
    wanted = ["a.py", "b.py", "email/c.py", "config/d.py"]
    other = [
        "site-packages/x.py",
        "dist-packages/x.py",
        "test/x.py",
        "lib2to3/tests/x.py",
        "idlelib/idle_test/x.py",
        "__pycache__/x.py",
        "pydoc_data/x.py",
        "config-3.12-x86_64-linux-gnu/x.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "notes.txt",
    ]
    for name in [*wanted, *other]:
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(f"# {name}\n")
    parts = Stdlib(tmp_path / "lib").collect(told.work())
    assert_divided(parts, [f"# {name}\n" for name in wanted])
    with pytest.raises(DataError, match="no source of its standard library"):
        Stdlib(tmp_path / "nothing").collect(told.work())


def test_text_files_are_documents(folder: Path, collect: Told) -> None:
    """Below the folder, too; what is hidden, empty or of another kind is left out."""
    texts = {f"{name}{index}": f"text {name} {index}" for name in "ab" for index in range(20)}
    for name, text in texts.items():
        (folder / name[0]).mkdir(exist_ok=True)
        (folder / name[0] / f"{name}.md").write_text(text)
    (folder / "empty.txt").write_text("")
    (folder / "image.png").write_bytes(b"\x89PNG")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.txt").write_text("hidden")
    assert_divided(collect(folder), list(texts.values()))


def test_a_file_keeps_its_split_when_others_come(folder: Path, collect: Told) -> None:
    """Otherwise adding a file would move validation text into training."""
    for index in range(40):
        (folder / f"{index}.txt").write_text(f"text {index}")
    before = set(documents(collect(folder), "validation"))
    for index in range(40, 60):
        (folder / f"{index}.txt").write_text(f"text {index}")
    after = set(documents(collect(folder), "validation"))
    assert before < after


def test_what_is_no_utf8_is_skipped_aloud(folder: Path, collect: Told) -> None:
    """Guessing an encoding would put wrong text into training."""
    for index in range(10):
        (folder / f"{index}.txt").write_text(f"text {index}")
    (folder / "latin.txt").write_bytes("Köln".encode("latin-1"))
    for _ in range(2):  # the second time from memory
        assert_divided(collect(folder), [f"text {index}" for index in range(10)])
    assert collect.notices == [f"skipped {folder / 'latin.txt'}: not UTF-8 text"] * 2


def test_a_single_text_file_is_cut_and_divided(folder: Path, collect: Told) -> None:
    """A corpus in one file must not validate on what it trains on."""
    text = "".join(f"line {index} of the only file\n" for index in range(3000))
    path = folder / "corpus.txt"
    path.write_text(text)
    parts = collect(path)
    assert_divided(parts, list(cut_text(text)))
    assert fingerprint(parts) == fingerprint(collect(folder))


def test_parquet_files_last_one_for_validation(folder: Path, collect: Told) -> None:
    """Upstream's rule; nulls and empty texts are no documents."""
    for name in ("b", "a", "c"):
        texts = [f"{name} {row}" for row in range(5)]
        (folder / f"{name}.parquet").write_bytes(parquet([*texts, None, ""]))
    (folder / "README.md").write_text("about")
    parts = collect(folder)
    assert [part.name for part in parts] == ["a.parquet", "b.parquet", "c.parquet"]
    assert documents(parts, "train") == [f"{name} {row}" for name in "ab" for row in range(5)]
    assert documents(parts, "validation") == [f"c {row}" for row in range(5)]
    assert [part.teaches_tokenizer for part in parts] == [True, True, False]
    assert collect.notices == ["1 text files beside the Parquet files are not used"]


def test_a_single_parquet_file_is_divided(folder: Path, collect: Told) -> None:
    """Equal documents stay together, so that none is on both sides."""
    texts = [f"text {row % 50}" for row in range(100)]
    (folder / "only.parquet").write_bytes(parquet(texts))
    parts = collect(folder)
    assert_divided(parts, texts)
    assert [part.teaches_tokenizer for part in parts] == [True, False]
    assert sum(part.count() for part in parts) == 100


def test_another_text_column(folder: Path, collect: Told) -> None:
    """Data sets call it content, body, …"""
    for name in "ab":
        (folder / f"{name}.parquet").write_bytes(parquet([f"text {name}"], "content"))
    parts = collect(folder, "content")
    assert documents(parts, "train") == ["text a"]
    with pytest.raises(DataError, match="no column 'text'; it has content") as caught:
        collect(folder)
    assert "--text-column" in caught.value.hint


def test_a_column_that_is_no_text(folder: Path, collect: Told) -> None:
    """Numbers would be trained on as their digits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [1, 2, 3]}), folder / "numbers.parquet")
    with pytest.raises(DataError, match="holds int64, not text"):
        collect(folder)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _scramble(content: bytes) -> bytes:
    return content[:40] + bytes(60) + content[100:]


@pytest.mark.parametrize("damage", [_cut, _scramble, lambda content: b""])
def test_a_damaged_parquet_file_is_named(
    folder: Path, collect: Told, damage: Callable[[bytes], bytes]
) -> None:
    """One bad file among hundreds has to be found."""
    content = parquet([f"text {row}" * 30 for row in range(300)])
    (folder / "a.parquet").write_bytes(damage(content))
    (folder / "b.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is not a readable Parquet file"):
        documents(collect(folder), "train")


@pytest.mark.parametrize("texts", [[], ["same", "same"], ["one"]])
def test_text_that_cannot_be_divided_is_told(folder: Path, collect: Told, texts: list[str]) -> None:
    """A run without a validation split has no val_bpb."""
    (folder / "a.parquet").write_bytes(parquet(texts))
    with pytest.raises(DataError, match="cannot be divided"):
        documents(collect(folder), "train")


def test_an_empty_folder_is_told(folder: Path, collect: Told) -> None:
    """The message says what would have been read."""
    with pytest.raises(DataError, match="holds no data") as caught:
        collect(folder)
    assert "*.parquet" in caught.value.hint


def test_the_fingerprint_follows_the_content_and_not_the_place(
    tmp_path: Path, collect: Told
) -> None:
    """Two users with the same files have the same data set; one changed letter makes another."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        for index in range(10):
            (tmp_path / name / f"{index}.txt").write_text(f"text {index}")
    assert fingerprint(collect(tmp_path / "here")) == fingerprint(collect(tmp_path / "there"))
    path = tmp_path / "there" / "3.txt"
    path.write_text("Text 3")
    assert fingerprint(collect(tmp_path / "here")) != fingerprint(collect(tmp_path / "there"))


def test_names_and_paths() -> None:
    """What --data takes."""
    assert isinstance(resolve("stdlib"), Stdlib)
    assert resolve("climbmix") == Climbmix(10, CLIMBMIX)
    assert isinstance(resolve("."), LocalFiles)
    assert resolve("./climbmix").key.startswith("folder-climbmix-")
    with pytest.raises(UsageError, match=r"unknown data set 'stdlip'\. Did you mean 'stdlib'"):
        resolve("stdlip")


CLIMBMIX = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main"


def test_a_path_means_the_same_from_a_folder_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs of an A/B work elsewhere: `--data my-text` would not be found there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-text").mkdir()
    (tmp_path / "stdlib").mkdir()
    assert absolute("my-text") == str(tmp_path / "my-text")
    assert absolute("stdlib") == "stdlib"
    assert absolute("stdlip") == "stdlip", "a typing error must still be called one"


def test_the_address_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a mirror, or a machine without that site."""
    monkeypatch.setenv("KERNEL_LAB_CLIMBMIX_URL", "https://mirror.example/data/")
    assert resolve("climbmix") == Climbmix(10, "https://mirror.example/data")
    source = resolve("climbmix", shards=2, base_url="http://other.example")
    assert source == Climbmix(2, "http://other.example")
    assert source.command == (
        "uv run prepare.py --data climbmix --shards 2 --base-url http://other.example"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Climbmix(0, CLIMBMIX), "0 training shards"),
        (Climbmix(6543, CLIMBMIX), "6543 training shards"),
        (Climbmix(1, "example"), "no web address"),
    ],
)
def test_impossible_settings_are_refused_before_any_download(
    source: Climbmix, message: str
) -> None:
    """Shard 6542 is the validation split and must never be trained on."""
    with pytest.raises(UsageError, match=message):
        source.require()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    numbers = [0, 1, 2, 6542]
    files = {
        f"shard_{number:05d}.parquet": parquet([f"shard {number} row {row}" for row in range(30)])
        for number in numbers
    }
    with ShardServer(files) as server:
        yield server


def test_climbmix_pins_the_last_shard_for_validation(server: ShardServer, tmp_path: Path) -> None:
    """And the tokenizer learns from the first one, so that it is the same for any number."""
    told = Told(tmp_path)
    parts = Climbmix(3, server.url).collect(told.work())
    assert [(part.split, part.name[6:11]) for part in parts] == [
        ("train", "00000"),
        ("train", "00001"),
        ("train", "00002"),
        ("validation", "06542"),
    ]
    assert [part.teaches_tokenizer for part in parts] == [True, False, False, False]
    assert documents(parts, "validation") == [f"shard 6542 row {row}" for row in range(30)]
    server.requests.clear()
    fewer = Climbmix(2, server.url).collect(told.work())
    assert server.requests == []
    assert fingerprint(fewer) != fingerprint(parts)
