"""prepare.py as a user meets it: idempotent, interruptible, safe in parallel, clear when wrong."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from shard_server import Fault, ShardServer, parquet

import prepare
from trainer.data import Prepared, open_prepared
from trainer.errors import DataError
from trainer.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
LETTERS = "abcdefgh "
SMALL = ["--vocab-size", "300", "--workers", "2"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERNEL_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    path = tmp_path / "texts"
    path.mkdir()
    for index in range(30):
        words = " ".join(f"word{(index * 7 + place) % 50}" for place in range(50))
        (path / f"{index}.txt").write_text(f"File {index}: {words}.\n")
    return path


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    letters = random.Random(0)
    files = {
        f"shard_{number:05d}.parquet": parquet(
            [f"{number} {row} {''.join(letters.choices(LETTERS, k=200))}" for row in range(1000)]
        )
        for number in (0, 1, 2, 6542)
    }
    with ShardServer(files) as server:
        monkeypatch.setenv("KERNEL_LAB_CLIMBMIX_URL", server.url)
        yield server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(prepare.main, [*arguments, *SMALL])


# A job in the background of a shell ignores Ctrl-C, and its children inherit that: undone here
SCRIPT = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_path("prepare.py", run_name="__main__")
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments, *SMALL],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def made(cache: Path) -> dict[str, int]:
    """Everything in the cache with its time of change."""
    return {str(path): path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


def test_prepare_a_folder_from_the_command_line(folder: Path) -> None:
    """The summary names what a record of a run needs."""
    result = run("--data", str(folder))
    assert result.exit_code == 0
    prepared = open_prepared(str(folder))
    count = prepared.counts("train")["documents"]
    for fact in (f"{count} documents", prepared.data_sha256[:12], prepared.tokenizer_sha256[:12]):
        assert fact in result.stdout
    assert str(prepared.folder) in result.stdout
    assert "training the tokenizer" in result.stderr
    assert "training the tokenizer" not in result.stdout


def test_json_is_all_there_is_on_stdout(folder: Path) -> None:
    """Scripts read it."""
    result = run("--data", str(folder), "--json")
    content = json.loads(result.stdout)
    assert content["vocab"] == 300
    assert content["data"] == str(folder)
    splits = content["splits"]
    assert splits["train"]["documents"] + splits["validation"]["documents"] == 30
    text_bytes = sum(path.stat().st_size for path in folder.iterdir())
    assert sum(split["text_bytes"] for split in splits.values()) == text_bytes


def test_a_second_run_changes_nothing(folder: Path, cache: Path) -> None:
    """The tour runs it every time."""
    assert run("--data", str(folder)).exit_code == 0
    before = made(cache)
    assert run("--data", str(folder)).exit_code == 0
    after = made(cache)
    assert before == after


def test_changed_text_and_changed_settings_are_followed(folder: Path) -> None:
    """Caches are rebuilt when either fingerprint changes."""
    first = prepare.prepare(str(folder), vocab_size=300)
    other = prepare.prepare(str(folder), vocab_size=290)
    assert other.vocab == 290
    assert open_prepared(str(folder)).tokenizer_sha256 == other.tokenizer_sha256
    (folder / "0.txt").write_text("Another text. " * 30)
    changed = prepare.prepare(str(folder), vocab_size=300)
    assert changed.data_sha256 != first.data_sha256
    texts = [
        changed.tokenizer.decode(part.tokens[begin:end])
        for split in ("train", "validation")
        for part in changed.tokens(split)
        for begin, end in zip(part.offsets[:-1], part.offsets[1:], strict=True)
    ]
    assert sorted(texts) == sorted(path.read_text() for path in folder.iterdir())


def test_force_makes_anew_and_removes_what_is_old(folder: Path) -> None:
    """The way out of any doubt, and of a full disk."""
    prepare.prepare(str(folder), vocab_size=290)
    prepared = prepare.prepare(str(folder), vocab_size=300)
    assert len(list(prepared.folder.glob("tokens/*"))) == 4
    before = made(prepared.folder)
    again = prepare.prepare(str(folder), vocab_size=300, force=True)
    assert again.tokenizer_sha256 == prepared.tokenizer_sha256
    assert len(list(prepared.folder.glob("tokens/*"))) == 2
    assert len(list(prepared.folder.glob("tokenizer-*.json"))) == 1
    after = made(prepared.folder)
    assert all(after[path] > before[path] for path in after if "tokens" in path)


def test_little_text_is_said_to_give_a_small_vocabulary(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is smaller than the flag says."""
    prepared = prepare.prepare(str(folder), vocab_size=5000)
    assert prepared.vocab < 5000
    assert f"the vocabulary is {prepared.vocab}, not 5000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "stdlip"], 2, ["Did you mean 'stdlib'?", "climbmix"]),
        (["--data", "no/such/folder"], 2, ["does not exist", "stdlib"]),
        (["--vocab-size", "100"], 2, ["between 260", "65536"]),
        (["--vocab-size", "65537"], 2, ["between 260", "65536"]),
        (["--workers", "0"], 2, ["at least 1"]),
        (["--data", "climbmix", "--shards", "0"], 2, ["1 to 6542"]),
        (["--data", "climbmix", "--base-url", "nowhere"], 2, ["no web address"]),
        (["--shards", "3"], 2, ["'stdlib' has no shards"]),
        (["--base-url", "http://mirror.example"], 2, ["'stdlib' has no shards"]),
        (["--data", "climbmix", "--text-column", "body"], 2, ["no other text column"]),
        (["--shards", "many"], 2, ["not a valid integer"]),
        (["--colour"], 2, ["No such option"]),
    ],
)
def test_wrong_commands_are_answered(
    cache: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    """Each says what is allowed, and nothing is begun."""
    result = CliRunner().invoke(prepare.main, arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    assert not cache.exists()


def test_an_empty_folder_exits_with_3(folder: Path) -> None:
    """Not the command is wrong but the data."""
    for path in folder.iterdir():
        path.unlink()
    result = run("--data", str(folder))
    assert result.exit_code == 3
    assert "holds no data" in result.stderr


def test_climbmix_from_a_bad_server(server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut connections and a 500 on the way; then more shards reuse what is there."""
    monkeypatch.setattr(prepare, "Policy", quick_policy)
    server.faults["shard_00000.parquet"] = [Fault(cut_after=70_000), Fault(status=500)]
    server.faults["shard_06542.parquet"] = [Fault(status=503), Fault(cut_after=100)]
    assert run("--data", "climbmix", "--shards", "2").exit_code == 0
    assert len(server.asked("shard_00000.parquet")) == 3
    two = open_prepared("climbmix")
    assert [part.meta.documents for part in two.tokens("train")] == [1000, 1000]
    before = made(two.folder / "tokens")
    server.requests.clear()
    assert run("--data", "climbmix", "--shards", "3").exit_code == 0
    assert [request.name for request in server.requests] == ["shard_00002.parquet"]
    three = open_prepared("climbmix")
    assert three.tokenizer_sha256 == two.tokenizer_sha256
    assert three.data_sha256 != two.data_sha256
    assert before.items() < made(two.folder / "tokens").items()


def quick_policy(**settings: int) -> object:
    """Patience without pauses."""
    from trainer.transfer import Policy

    return Policy(**settings, sleep=lambda seconds: None)  # type: ignore[arg-type]


def test_a_missing_shard_exits_with_3_and_names_it(server: ShardServer) -> None:
    """Upstream exits with 0, and the training that follows is on less data than was asked for."""
    del server.files["shard_00001.parquet"]
    result = run("--data", "climbmix", "--shards", "3")
    assert result.exit_code == 3
    assert "1 of 4 files" in result.stderr
    assert "shard_00001.parquet: the server answered 404" in result.stderr
    again = f"uv run prepare.py --data climbmix --shards 3 --base-url {server.url}"
    assert f"To go on: {again} --vocab-size 300" in result.stderr
    with pytest.raises(DataError, match="not prepared"):
        open_prepared("climbmix")


def wait_for(path: Path, size: int, process: subprocess.Popen[str]) -> None:
    while not (path.exists() and path.stat().st_size > size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_in_a_download_it_goes_on(
    server: ShardServer, cache: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C, or the machine goes down: nothing half-used, nothing fetched twice."""
    name = "shard_00000.parquet"
    server.seconds_per_kilobyte = 0.01
    process = start("--data", "climbmix", "--shards", "1")
    partial = cache / "downloads" / "climbmix" / f"{name}.partial"
    wait_for(partial, 60_000, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    if number == signal.SIGINT:
        assert "Run the same command again to go on" in errors
        assert "Traceback" not in errors
    have = partial.stat().st_size
    assert not partial.with_name(name).exists()
    with pytest.raises(DataError, match="not prepared"):
        open_prepared("climbmix")
    server.seconds_per_kilobyte = 0.0
    server.requests.clear()
    assert run("--data", "climbmix", "--shards", "1").exit_code == 0
    assert server.asked(name)[0].range == f"bytes={have}-"
    assert partial.with_name(name).read_bytes() == server.files[name]
    assert sum(part.meta.documents for part in open_prepared("climbmix").tokens("train")) == 1000


def test_killed_while_encoding_it_is_made_whole_by_the_next_run(folder: Path) -> None:
    """A token cache is used only when it was renamed into place, and its remains are cleared."""
    script = (
        "import os, prepare\nfrom trainer import token_cache\n"
        "token_cache._flush = lambda file: os.kill(os.getpid(), 9)\n"
        f"prepare.prepare({str(folder)!r}, vocab_size=300)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -9
    with pytest.raises(DataError, match="not prepared"):
        open_prepared(str(folder))
    assert run("--data", str(folder)).exit_code == 0
    prepared = open_prepared(str(folder))
    assert [path.suffix for path in (prepared.folder / "tokens").iterdir()] == ["", ""]


def test_a_stop_leaves_the_previous_state_in_force(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a new data set must not replace the whole of the old one."""
    old = prepare.prepare(str(folder), vocab_size=300)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    def interrupted(self: Tokenizer, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", interrupted)
        result = run("--data", str(folder), "--vocab-size", "280", "--force")
        assert result.exit_code == 130
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    still = open_prepared(str(folder))
    assert still.tokenizer_sha256 == old.tokenizer_sha256
    assert [part.meta for part in still.tokens("train")] == [p.meta for p in old.tokens("train")]


def test_two_at_once_are_safe(folder: Path, cache: Path) -> None:
    """Two tours in two terminals; the second waits, says so, and finds all done."""
    processes = [start("--data", str(folder), "--json") for _ in range(3)]
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    hashes = {json.loads(output)["tokenizer_sha256"] for output, _ in results}
    assert len(hashes) == 1
    prepared: Prepared = open_prepared(str(folder))
    assert len(list((prepared.folder / "tokens").iterdir())) == 2


def test_waiting_for_another_is_said(folder: Path) -> None:
    """Otherwise it looks as if it hung."""
    from filelock import FileLock

    prepared = prepare.prepare(str(folder), vocab_size=300)
    with FileLock(prepared.folder / "lock"):
        process = start("--data", str(folder))
        line = process.stderr.readline() if process.stderr else ""
    process.communicate(timeout=30)
    assert "another prepare.py is at work" in line
    assert process.returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_told(folder: Path, cache: Path) -> None:
    """The message names the way out."""
    cache.mkdir()
    cache.chmod(0o500)
    result = run("--data", str(folder))
    assert result.exit_code == 3
    assert "KERNEL_LAB_CACHE" in result.stderr


def test_a_file_where_the_cache_should_be_is_told(folder: Path, cache: Path) -> None:
    """The same, for a path that can never be a folder."""
    cache.write_text("a file")
    result = run("--data", str(folder))
    assert result.exit_code == 3
    assert "KERNEL_LAB_CACHE" in result.stderr


def test_importing_starts_nothing(cache: Path) -> None:
    """Tools that import every module must not begin a download."""
    code = "import prepare, sys; assert not {'torch', 'pyarrow', 'requests'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert not cache.exists()


def test_the_help_names_every_data_set() -> None:
    """A user finds the names where the command is."""
    result = CliRunner().invoke(prepare.main, ["--help"])
    for word in ("stdlib", "climbmix", "PATH", "KERNEL_LAB_CACHE", "--text-column"):
        assert word in result.stdout


def test_every_example_in_the_docs_is_a_real_command(checkout: Path) -> None:
    """A flag that was renamed must not live on in docs."""
    lines = [*prepare.__doc__.splitlines(), *(checkout / "docs/data.md").read_text().splitlines()]
    examples = [line.strip() for line in lines if line.strip().startswith("uv run prepare.py")]
    assert len(examples) >= 6
    for example in examples:
        words = shlex.split(example, comments=True)[3:]
        assert prepare.main.make_context("prepare.py", words).params["data"]
