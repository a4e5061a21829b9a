"""The tokenizer: byte-pair merges learned by rustbpe, kept as plain text, applied by tiktoken.

    tokenizer = train_tokenizer(documents, vocab_size=8192)
    tokenizer.save(path)
    tokenizer = Tokenizer.load(path)
    tokenizer.encode("text")        # uint16 ids, without specials
    tokenizer.token_bytes           # exact bytes of every id, 0 for specials

The file is JSON: the split pattern, the specials and the raw bytes of every token in base64, one a
line in rank order. Ids are ranks; specials follow the last rank. Nothing is ever pickled.

`token_bytes` comes from those raw bytes. karpathy/autoresearch takes
`len(decode([id]).encode())` instead, which counts a token that is no valid UTF-8 by itself as the
3 bytes of U+FFFD, inflates the byte count and makes its val_bpb too low (its issue #384).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.errors import DataError, UsageError
from trainer.files import write_whole

if TYPE_CHECKING:
    import tiktoken

FORMAT = 1
SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
"""GPT-4's pattern with numbers in groups of two digits, as karpathy/autoresearch has it."""
SPECIALS = tuple(f"<|reserved_{index}|>" for index in range(4))
"""The first one begins every document (BOS)."""
VOCAB_SIZE = 8192
SMALLEST_VOCAB = 256 + len(SPECIALS)
LARGEST_VOCAB = 2**16
"""Token caches hold ids as uint16."""
DOCUMENT_CAP = 10_000
"""Characters of one document that the tokenizer learns from."""
TEXT_CAP = 1_000_000_000
"""Characters of all documents together that the tokenizer learns from."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Raw bytes of every mergeable token by rank, the split pattern and the special tokens."""

    tokens: tuple[bytes, ...]
    pattern: str = SPLIT_PATTERN
    specials: tuple[str, ...] = SPECIALS
    made_of: str = ""
    """Names the text and settings that it was learned from; no part of `sha256`."""

    @property
    def vocab(self) -> int:
        """Number of ids, specials included."""
        return len(self.tokens) + len(self.specials)

    @property
    def bos(self) -> int:
        """Id of the token that begins every document."""
        return len(self.tokens)

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """int32 [vocab]: how many bytes of text each id stands for; specials stand for none."""
        return np.array([*map(len, self.tokens), *(0 for _ in self.specials)], dtype=np.int32)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of everything that decides how text becomes ids."""
        content = json.dumps([self.pattern, self.specials, _to_base64(self.tokens)])
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The same merges as a `tiktoken.Encoding`, built on first use."""
        import tiktoken

        return tiktoken.Encoding(
            name=f"kernel-lab-{self.sha256[:12]}",
            pat_str=self.pattern,
            mergeable_ranks={token: rank for rank, token in enumerate(self.tokens)},
            special_tokens={name: self.bos + i for i, name in enumerate(self.specials)},
        )

    def encode(self, text: str) -> np.ndarray:
        """uint16 ids of `text`. A special's name in the text is ordinary text."""
        # Not encode_ordinary: this way no Python list of ints is built, and threads run in parallel
        return self.encoding.encode_to_numpy(text, disallowed_special=()).astype(np.uint16)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are no valid UTF-8 become U+FFFD."""
        return self.encoding.decode([int(token) for token in ids])

    def save(self, path: Path) -> None:
        """Writes the tokenizer to `path`, whole or not at all."""
        content = {
            "format": FORMAT,
            "pattern": self.pattern,
            "specials": self.specials,
            "made_of": self.made_of,
            "sha256": self.sha256,
            "tokens": _to_base64(self.tokens),
        }
        write_whole(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Reads what `save` wrote. Raises `DataError` if it is missing, damaged or was edited."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
            tokens = tuple(base64.b64decode(token, validate=True) for token in content["tokens"])
            specials = tuple(content["specials"])
            tokenizer = cls(tokens, content["pattern"], specials, content["made_of"])
            if tokenizer.sha256 != content["sha256"]:
                raise ValueError("its content does not have the sha256 that it names")
        except FileNotFoundError:
            raise DataError(f"there is no tokenizer at {path}", REMAKE) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"the tokenizer {path} is damaged: {reason}", REMAKE) from error
        return tokenizer


REMAKE = "Run prepare.py again for this data set: it makes what is missing or damaged anew."


def check_vocab_size(vocab_size: int) -> None:
    """Raises `UsageError` for a vocabulary that cannot be made or would not fit in uint16."""
    if not SMALLEST_VOCAB <= vocab_size <= LARGEST_VOCAB:
        raise UsageError(
            f"a vocabulary of {vocab_size} tokens is not possible",
            f"Choose between {SMALLEST_VOCAB} (the 256 bytes and {len(SPECIALS)} specials) and "
            f"{LARGEST_VOCAB} (ids are stored in 16 bits).",
        )


def train_tokenizer(
    documents: Iterable[str],
    vocab_size: int = VOCAB_SIZE,
    document_cap: int = DOCUMENT_CAP,
    text_cap: int = TEXT_CAP,
) -> Tokenizer:
    """Learns merges from `documents` until `text_cap` characters are read.

    Deterministic. The vocabulary comes out smaller than `vocab_size` where the text has no more
    pairs to merge. Raises `UsageError` as `check_vocab_size` does.
    """
    import rustbpe

    check_vocab_size(vocab_size)
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(
        _capped(documents, document_cap, text_cap),
        vocab_size - len(SPECIALS),
        pattern=SPLIT_PATTERN,
    )
    ranks = sorted(trainer.get_mergeable_ranks(), key=lambda entry: entry[1])
    return Tokenizer(tuple(bytes(token) for token, _ in ranks))


def _capped(documents: Iterable[str], document_cap: int, text_cap: int) -> Iterator[str]:
    characters = 0
    for document in documents:
        yield document[:document_cap]
        characters += min(len(document), document_cap)
        if characters >= text_cap:
            return


def _to_base64(tokens: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(token).decode("ascii") for token in tokens]
