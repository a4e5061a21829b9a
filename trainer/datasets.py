"""The data sets: what they are called, where their text comes from, how it is split.

    source = resolve("stdlib")           # or "climbmix", or the path of a folder or file
    source.require()                     # raises if it cannot be there
    parts = source.collect(work)         # downloads what is missing; one part = one token cache

- `stdlib`: the source text of the running Python's standard library. No download.
- `climbmix`: karpathy/climbmix-400b-shuffle, the Parquet shards that karpathy/autoresearch uses:
  any number for training, the last one (6542) always for validation.
- a path: Parquet files, or text files, in a folder and below it, or one such file.

`trainer.parts` has the rule by which text is held out. Nothing is downloaded or read before
`collect`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trainer.documents import find_files, parquet_fault
from trainer.downloads import download_all
from trainer.errors import DataError, UsageError, unknown
from trainer.parts import Part, Work, parquet_parts, text_parts
from trainer.transfer import Download

NAMES = {
    "stdlib": "the source text of the running Python's standard library; no download",
    "climbmix": "karpathy/climbmix-400b-shuffle, the Parquet shards of karpathy/autoresearch",
}
TEXT_SUFFIXES = (".txt", ".md", ".py")

CLIMBMIX_URL = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main"
CLIMBMIX_VARIABLE = "KERNEL_LAB_CLIMBMIX_URL"
CLIMBMIX_VALIDATION_SHARD = 6542
CLIMBMIX_SHARDS = 10
"""Training shards when none are asked for, as upstream."""

STDLIB_SKIPPED = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "pydoc_data"}
)
"""Not the library's own text, or generated: one file of pydoc_data would be half of a split."""
STDLIB_SKIPPED_PREFIXES = ("_sysconfigdata", "config-")
"""Written when Python was built, so different on each machine."""

Files = dict[str, list[int]]
"""Size and time of change (ns) of each file of a folder, by relative path."""


class Source(Protocol):
    """A data set that can be collected."""

    @property
    def key(self) -> str:
        """Name of its folder in the cache."""

    @property
    def command(self) -> str:
        """The command that prepares it."""

    def require(self) -> None:
        """Raises `UsageError` if it cannot be collected because it is not there."""

    def files(self) -> Files:
        """Its local files as they are now; none where they are not the user's."""

    def collect(self, work: Work) -> tuple[Part, ...]:
        """Its parts, training first. Raises `DataError` if a split would be empty."""


def absolute(name: str) -> str:
    """What names the same data set from any folder: a path that exists in full, else the name."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name not in NAMES and path.exists() else name


def resolve(
    name: str,
    shards: int | None = None,
    base_url: str | None = None,
    text_column: str = "text",
) -> Source:
    """The data set of that name or path.

    `shards` and `base_url` are for climbmix, `text_column` is for local Parquet files. Raises
    `UsageError` for an unknown name and for a setting that the data set does not have.
    """
    if name != "climbmix" and not (shards is None and base_url is None):
        raise UsageError(f"'{name}' has no shards to choose", "Leave --shards and --base-url out.")
    if name in NAMES and text_column != "text":
        raise UsageError(f"'{name}' has no other text column", "Leave --text-column out.")
    if name == "stdlib":
        return Stdlib()
    if name == "climbmix":
        url = base_url or os.environ.get(CLIMBMIX_VARIABLE) or CLIMBMIX_URL
        return Climbmix(CLIMBMIX_SHARDS if shards is None else shards, url.rstrip("/"))
    path = Path(name).expanduser()
    looks_like_a_path = os.sep in name or name.startswith((".", "~")) or path.suffix
    if looks_like_a_path or path.exists():
        return LocalFiles(name, path.resolve(), text_column)
    error = unknown("data set", name, NAMES)
    raise UsageError(error.message, f"{error.hint} Or the path of a folder of text or Parquet.")


@dataclass(frozen=True)
class Stdlib:
    """The source text of the running Python's standard library."""

    root: Path = field(default_factory=lambda: Path(sysconfig.get_path("stdlib")))

    @property
    def key(self) -> str:
        return f"stdlib-{platform.python_version()}"

    @property
    def command(self) -> str:
        return "uv run prepare.py --data stdlib"

    def require(self) -> None:
        """It is always there."""

    def files(self) -> Files:
        return {}

    def collect(self, work: Work) -> tuple[Part, ...]:
        paths = find_files(
            self.root,
            (".py",),
            lambda name: name in STDLIB_SKIPPED or name.startswith(STDLIB_SKIPPED_PREFIXES),
        )
        if not paths:
            raise DataError(
                f"this Python has no source of its standard library in {self.root}",
                "Use another Python, or a folder of your own: --data PATH.",
            )
        return text_parts(self.root, paths, work)


@dataclass(frozen=True)
class Climbmix:
    """Shards 0 .. shards-1 for training; the tokenizer learns from shard 0 only.

    So the tokenizer, the validation split and with them val_bpb are the same for any number of
    shards, and more shards need no new token caches of those already there.
    """

    shards: int
    base_url: str

    @property
    def key(self) -> str:
        return "climbmix"

    @property
    def command(self) -> str:
        command = f"uv run prepare.py --data climbmix --shards {self.shards}"
        if self.base_url != CLIMBMIX_URL:
            command += f" --base-url {shlex.quote(self.base_url)}"
        return command

    def require(self) -> None:
        """Raises `UsageError` for a number of shards or an address that cannot be."""
        if not 1 <= self.shards <= CLIMBMIX_VALIDATION_SHARD:
            raise UsageError(
                f"climbmix cannot have {self.shards} training shards",
                f"--shards takes 1 to {CLIMBMIX_VALIDATION_SHARD}.",
            )
        if not self.base_url.startswith(("http://", "https://")):
            raise UsageError(
                f"'{self.base_url}' is no web address",
                f"--base-url and ${CLIMBMIX_VARIABLE} take one such as {CLIMBMIX_URL}.",
            )

    def files(self) -> Files:
        return {}

    def collect(self, work: Work) -> tuple[Part, ...]:
        names = [f"shard_{i:05d}.parquet" for i in (*range(self.shards), CLIMBMIX_VALIDATION_SHARD)]
        folder = work.downloads / "climbmix"
        downloads = [Download(f"{self.base_url}/{name}", folder / name) for name in names]
        download_all(downloads, work.policy, work.progress, parquet_fault, work.command)
        paths = [download.path for download in downloads]
        return parquet_parts(paths, "text", work, teachers=1)


@dataclass(frozen=True)
class LocalFiles:
    """Parquet or text files in a folder and below it, or one such file. `name` is as it was given.

    Where there are both, the Parquet files are the data, and that is said.
    """

    name: str
    path: Path
    text_column: str = "text"

    @property
    def key(self) -> str:
        return f"folder-{self.path.name}-{hashlib.sha256(str(self.path).encode()).hexdigest()[:12]}"

    @property
    def command(self) -> str:
        command = f"uv run prepare.py --data {shlex.quote(self.name)}"
        if self.text_column != "text":
            command += f" --text-column {shlex.quote(self.text_column)}"
        return command

    def require(self) -> None:
        if not self.path.exists():
            raise UsageError(
                f"data folder {self.path} does not exist",
                f"Give the path of a folder of Parquet or text files, or one of: "
                f"{', '.join(NAMES)}.",
            )

    def files(self) -> Files:
        root, parquet, text = self._find()
        found = {}
        for path in parquet or text:
            status = path.stat()
            found[path.relative_to(root).as_posix()] = [status.st_size, status.st_mtime_ns]
        return found

    def collect(self, work: Work) -> tuple[Part, ...]:
        root, parquet, text = self._find()
        if parquet:
            if text:
                work.notice(f"{len(text)} text files beside the Parquet files are not used")
            return parquet_parts(parquet, self.text_column, work)
        if not text:
            raise DataError(
                f"{self.path} holds no data",
                f"It needs *.parquet files, or text files ({', '.join(TEXT_SUFFIXES)}).",
            )
        return text_parts(root, text, work)

    def _find(self) -> tuple[Path, list[Path], list[Path]]:
        """The folder, its Parquet files and its text files."""
        if self.path.is_file():
            parquet = self.path.suffix.lower() == ".parquet"
            one = [self.path]
            return self.path.parent, one if parquet else [], [] if parquet else one
        parquet_files = find_files(self.path, (".parquet",))
        return self.path, parquet_files, find_files(self.path, TEXT_SUFFIXES)
