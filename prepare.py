"""Prepares a data set for training: download, tokenizer, token caches. Run it again at any time.

    uv run prepare.py                                   # the standard library's text, no download
    uv run prepare.py --data climbmix --shards 4
    uv run prepare.py --data path/to/folder

What is there and whole is kept; what is missing, damaged or out of date is made anew. Stopped in
the middle, it goes on where it was. Also a function: `prepare(name)`. Importing it starts nothing.

Exit codes: 0 done, 2 the command line, 3 the data, network or disk, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from trainer.data import Prepared
from trainer.datasets import CLIMBMIX_SHARDS, CLIMBMIX_VARIABLE, NAMES, resolve
from trainer.downloads import Progress
from trainer.errors import TrainerError, UsageError
from trainer.files import CACHE_VARIABLE
from trainer.hardware import usable_cores
from trainer.parts import SPLITS
from trainer.preparing import Preparation, silent
from trainer.tokenizer import VOCAB_SIZE
from trainer.transfer import Policy

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

INTERRUPTED = 130


def prepare(
    name: str = "stdlib",
    *,
    shards: int | None = None,
    vocab_size: int = VOCAB_SIZE,
    workers: int | None = None,
    base_url: str | None = None,
    text_column: str = "text",
    force: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Makes what `trainer.data.open_prepared(name)` opens and returns it; quick when up to date.

    `workers` threads download and encode (by default 8 and one per core). `progress` is called
    with a label, what is done and the total. Raises `UsageError` for what cannot be asked for and
    `DataError` for what could not be done. Safe to run several times at once.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    preparation = Preparation(
        name,
        resolve(name, shards, base_url, text_column),
        cache,
        vocab_size,
        threads=workers or usable_cores(),
        progress=progress or silent,
        policy=Policy(workers=workers) if workers else Policy(),
    )
    return preparation.make(force)


def summary(prepared: Prepared, seconds: float) -> dict[str, Any]:
    """What was prepared, as JSON."""
    splits = {}
    for split in SPLITS:
        counts = prepared.counts(split)
        splits[split] = {**counts, "bytes_per_token": counts["text_bytes"] / counts["tokens"]}
    return {
        "data": prepared.name,
        "splits": splits,
        "vocab": prepared.vocab,
        "data_sha256": prepared.data_sha256,
        "tokenizer_sha256": prepared.tokenizer_sha256,
        "folder": str(prepared.folder),
        "seconds": round(seconds, 3),
    }


class Bar:
    """A progress bar on stderr; where stderr is no terminal, a line for each new label."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._label = ""

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("starting", total=1)
            self._bar.start()
        return self

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=label, completed=done, total=total)
        elif label != self._label:
            click.echo(label, err=True)
        self._label = label

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


@click.command(
    epilog=f"${CACHE_VARIABLE} moves the cache, ${CLIMBMIX_VARIABLE} sets --base-url.",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option(
    "--data",
    default="stdlib",
    metavar="|".join([*NAMES, "PATH"]),
    help="A data set, or the path of a folder of Parquet or text files.",
)
@click.option(
    "--shards", type=int, help=f"Training shards of climbmix.  [default: {CLIMBMIX_SHARDS}]"
)
@click.option("--vocab-size", type=int, default=VOCAB_SIZE, help="Tokens, 4 specials included.")
@click.option("--workers", type=int, help="Threads.  [default: 8 to download, the cores to encode]")
@click.option("--base-url", metavar="URL", help="Where the climbmix shards lie.")
@click.option("--text-column", default="text", help="Column of local Parquet files to read.")
@click.option("--force", is_flag=True, help="Make all but the downloads anew; remove old caches.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def main(data: str, as_json: bool, **options: Any) -> None:
    """Prepare a data set for training: download, tokenizer, token caches."""
    began = time.monotonic()
    try:
        with Bar() as bar:
            prepared = prepare(data, progress=bar, **options)
        result = summary(prepared, time.monotonic() - began)
    except TrainerError as error:
        click.echo(f"prepare.py: {error.message}\n{error.hint}".rstrip(), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("prepare.py: stopped. Run the same command again to go on.", err=True)
        sys.exit(INTERRUPTED)
    click.echo(json.dumps(result) if as_json else _as_text(result))


def _as_text(result: dict[str, Any]) -> str:
    lines = [f"data set    {result['data']}"]
    for split, counts in result["splits"].items():
        lines.append(
            f"{split:<12}{counts['documents']:,} documents, {counts['text_bytes']:,} bytes, "
            f"{counts['tokens']:,} tokens ({counts['bytes_per_token']:.2f} bytes each)"
        )
    lines += [
        f"vocabulary  {result['vocab']} tokens, sha256 {result['tokenizer_sha256'][:12]}",
        f"data        sha256 {result['data_sha256'][:12]}",
        f"folder      {result['folder']}",
        f"ready in    {result['seconds']:.1f} s",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
