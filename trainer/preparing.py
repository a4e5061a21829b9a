"""Makes what `trainer.data.open_prepared` opens: one call, from nothing to tokens on disk.

    prepared = Preparation("stdlib", resolve("stdlib"), cache).make()

Everything is kept under the name of what it was made of: a tokenizer under the text it learned
from and its settings, a token cache under its text and tokenizer. What is there and whole is used
again, what is not is made, and `prepared.json`, written last, says which of them belong together.
A process that dies in the middle therefore leaves the previous state in force.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer import tokenizer as tokenizers
from trainer.data import FORMAT, Prepared, assemble, prepared_folder, read_prepared
from trainer.datasets import Source
from trainer.documents import Fingerprints
from trainer.downloads import Progress
from trainer.errors import DataError
from trainer.files import cache_folder, make_folder, telling_disk_errors, write_whole
from trainer.parts import SPLITS, Part, Work, fingerprint
from trainer.token_cache import TokenShard, open_shard, remove_unfinished, write_shard
from trainer.tokenizer import Tokenizer, train_tokenizer
from trainer.transfer import Policy

SHORT = 12
"""Digits of a hash in a file name; the whole hash stands inside and is checked."""


def silent(label: str, done: int, total: int) -> None:
    """Progress that says nothing."""


def say(message: str) -> None:
    """A line on stderr."""
    print(message, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Preparation:
    """One data set and how to prepare it. `name` is what the user calls it."""

    name: str
    source: Source
    cache: Path | None = None
    vocab_size: int = tokenizers.VOCAB_SIZE
    threads: int = 1
    progress: Progress = silent
    notice: Callable[[str], None] = say
    policy: Policy = field(default_factory=Policy)

    def make(self, force: bool = False) -> Prepared:
        """Brings the data set up to date; with `force`, makes all but the downloads anew.

        Waits while another process prepares the same data set. Raises `UsageError` for settings
        that cannot be and `DataError` for what could not be done.
        """
        tokenizers.check_vocab_size(self.vocab_size)
        self.source.require()
        make_folder(self._folder / "tokens")
        with self._alone():
            remove_unfinished(self._folder / "tokens")
            files = self.source.files()
            parts = self._collect()
            tokenizer, tokenizer_file = self._tokenizer(parts, force)
            shards = [(part, self._shard(part, tokenizer, force)) for part in parts]
            self._require_text(shards)
            content = {
                "format": FORMAT,
                "command": self._command,
                "data_sha256": fingerprint(parts),
                "tokenizer_sha256": tokenizer.sha256,
                "tokenizer": tokenizer_file,
                "files": files,
                "splits": {split: _listing(split, shards, self._folder) for split in SPLITS},
            }
            self._write(content)
            if force:
                self._remove_unused(content)
        return assemble(self.name, self._folder, content)

    @property
    def _folder(self) -> Path:
        return prepared_folder(self.source, self.cache)

    @property
    def _command(self) -> str:
        """What a user types to get the same."""
        if self.vocab_size == tokenizers.VOCAB_SIZE:
            return self.source.command
        return f"{self.source.command} --vocab-size {self.vocab_size}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self._folder / "lock")
        with telling_disk_errors(self._folder / "lock"):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.notice(f"another prepare.py is at work on '{self.name}': waiting for it")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _collect(self) -> tuple[Part, ...]:
        known = Fingerprints(self._folder / "fingerprints.json")
        downloads = cache_folder(self.cache) / "downloads"
        work = Work(downloads, known, self.progress, self.notice, self._command, self.policy)
        parts = self.source.collect(work)
        known.save()
        return parts

    def _tokenizer(self, parts: Sequence[Part], force: bool) -> tuple[Tokenizer, str]:
        """The tokenizer of these parts and its file's name."""
        teachers = [part for part in parts if part.teaches_tokenizer]
        made_of = [
            tokenizers.FORMAT,
            [part.sha256 for part in teachers],
            self.vocab_size,
            tokenizers.SPLIT_PATTERN,
            tokenizers.SPECIALS,
            tokenizers.DOCUMENT_CAP,
            tokenizers.TEXT_CAP,
        ]
        key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        path = self._folder / f"tokenizer-{key[:SHORT]}.json"
        if path.exists() and not force:
            try:
                found = Tokenizer.load(path)
                if found.made_of != key:
                    raise DataError(f"{path} is a tokenizer of another text")
                return found, path.name
            except DataError as error:
                self.notice(f"{error.message}; making it anew")
        learned = train_tokenizer(self._lessons(teachers), self.vocab_size)
        tokenizer = replace(learned, made_of=key)
        if tokenizer.vocab < self.vocab_size:
            self.notice(
                f"the text has no more pairs to merge: the vocabulary is {tokenizer.vocab}, not "
                f"{self.vocab_size}"
            )
        tokenizer.save(path)
        return tokenizer, path.name

    def _lessons(self, teachers: Sequence[Part]) -> Iterator[str]:
        total = sum(part.count() for part in teachers)
        done = 0
        for part in teachers:
            for document in part.documents():
                yield document
                done += 1
                self.progress("training the tokenizer", min(done, total), total)
        self.progress("training the tokenizer", total, total)

    def _shard(self, part: Part, tokenizer: Tokenizer, force: bool) -> TokenShard:
        name = f"{part.sha256[:SHORT]}-{tokenizer.sha256[:SHORT]}"
        folder = self._folder / "tokens" / name
        if folder.exists() and not force:
            try:
                return open_shard(folder, part.sha256, tokenizer.sha256)
            except DataError as error:
                self.notice(f"{error.message}; making it anew")
        total = part.count()

        def told(documents: int) -> None:
            self.progress(f"encoding {part.name}", min(documents, total), total)

        shard = write_shard(folder, part.documents(), tokenizer, part.sha256, self.threads, told)
        told(total)
        return shard

    def _require_text(self, shards: Sequence[tuple[Part, TokenShard]]) -> None:
        for split in SPLITS:
            if not any(shard.meta.tokens for part, shard in shards if part.split == split):
                raise DataError(
                    f"the {split} split of '{self.name}' has no text", "Use more or other files."
                )

    def _write(self, content: dict[str, Any]) -> None:
        """Puts the new state in force, unless it is already."""
        with contextlib.suppress(DataError):
            if read_prepared(self._folder) == content:
                return
        write_whole(self._folder / "prepared.json", json.dumps(content, indent=1) + "\n")

    def _remove_unused(self, content: dict[str, Any]) -> None:
        """Removes tokenizers and token caches that `content` does not name."""
        used = {shard["folder"] for split in SPLITS for shard in content["splits"][split]}
        for path in (self._folder / "tokens").iterdir():
            if f"tokens/{path.name}" not in used:
                shutil.rmtree(path)
        for path in self._folder.glob("tokenizer-*.json"):
            if path.name != content["tokenizer"]:
                path.unlink()


def _listing(
    split: str, shards: Sequence[tuple[Part, TokenShard]], folder: Path
) -> list[dict[str, str]]:
    return [
        {
            "folder": shard.folder.relative_to(folder).as_posix(),
            "source_sha256": part.sha256,
        }
        for part, shard in shards
        if part.split == split and shard.meta.tokens
    ]
