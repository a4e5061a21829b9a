"""The tokenizer loses nothing, counts bytes exactly and never trusts a damaged file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import DataError, UsageError
from trainer.tokenizer import SPECIALS, Tokenizer, train_tokenizer

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 20,
    "def add(first: int, second: int) -> int:\n    return first + second\n" * 20,
    "Grüße aus Köln! Привет, мир. 你好世界 🙂🙃 " * 20,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXT, vocab_size=340)


def test_training_is_deterministic(tokenizer: Tokenizer) -> None:
    """val_bpb of two users is comparable only with the same tokenizer."""
    assert train_tokenizer(TEXT, vocab_size=340).sha256 == tokenizer.sha256
    assert train_tokenizer(TEXT, vocab_size=330).sha256 != tokenizer.sha256


def test_the_vocabulary_is_what_was_asked_for_specials_included(tokenizer: Tokenizer) -> None:
    """The embedding tables are sized by it."""
    assert tokenizer.vocab == 340 == tokenizer.encoding.n_vocab
    assert tokenizer.bos == 336 == tokenizer.encoding.encode_single_token(SPECIALS[0])


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_comes_back_and_its_bytes_add_up(tokenizer: Tokenizer, text: str) -> None:
    """Bits per byte divides by these bytes: one lost or counted twice falsifies val_bpb."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert int(tokenizer.token_bytes[ids].sum()) == len(text.encode())
    assert ids.tolist() == tokenizer.encoding.encode_ordinary(text)


def test_a_special_s_name_in_the_text_is_text(tokenizer: Tokenizer) -> None:
    """Otherwise a document could plant a document boundary."""
    ids = tokenizer.encode(f"a {SPECIALS[0]} b")
    assert max(ids) < tokenizer.bos


def test_specials_stand_for_no_bytes(tokenizer: Tokenizer) -> None:
    """They are no part of the text, so predicting them must not lower bits per byte."""
    assert tokenizer.token_bytes.dtype == np.int32
    assert tokenizer.token_bytes.shape == (340,)
    assert tokenizer.token_bytes[tokenizer.bos :].tolist() == [0, 0, 0, 0]
    assert (tokenizer.token_bytes[: tokenizer.bos] > 0).all()


def test_bytes_of_a_token_that_is_no_valid_utf8_are_exact(tokenizer: Tokenizer) -> None:
    """Upstream decodes it to U+FFFD and counts 3 bytes, which makes its val_bpb too low."""

    def upstream(token: int) -> int:
        return len(tokenizer.encoding.decode([token]).encode("utf-8"))

    lone_byte = tokenizer.encoding.encode_single_token(b"\xc3")
    assert tokenizer.token_bytes[lone_byte] == 1
    assert upstream(lone_byte) == 3
    for token, raw in enumerate(tokenizer.tokens):
        assert tokenizer.token_bytes[token] == len(raw)
        if raw.decode(errors="ignore").encode() == raw:
            assert upstream(token) == len(raw)
    text = "ŵ" * 50  # never seen in training: all of it in single bytes
    ids = tokenizer.encode(text)
    assert int(tokenizer.token_bytes[ids].sum()) == 100
    assert sum(map(upstream, ids.tolist())) == 300


def test_saving_and_loading_gives_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A resumed run must read the same ids."""
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert loaded.sha256 == tokenizer.sha256
    assert loaded.tokens == tokenizer.tokens
    assert loaded.encode(TEXT[2]).tolist() == tokenizer.encode(TEXT[2]).tolist()
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_file_is_plain_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A pickle would run whatever its author likes when it is opened."""
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    content = json.loads(path.read_text(encoding="ascii"))
    assert content["specials"] == list(SPECIALS)
    assert len(content["tokens"]) == 336


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"YQ=="', '"Yg=="', 1),
        lambda text: text.replace('"format": 1', '"format": 99'),
        lambda text: text.replace('"pattern"', '"patern"'),
        lambda text: text.replace('"YQ=="', "17", 1),
        lambda text: text.replace('"YQ=="', '"!"', 1),
    ],
    ids=["cut", "empty", "list", "edited", "format", "key", "type", "base64"],
)
def test_a_damaged_file_is_refused_with_the_fix(
    tokenizer: Tokenizer, tmp_path: Path, damage: object
) -> None:
    """Wrong ids would train without any error and give a wrong val_bpb."""
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(DataError, match="is damaged") as caught:
        Tokenizer.load(path)
    assert "prepare.py" in caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A traceback would not say what to do."""
    with pytest.raises(DataError, match="no tokenizer at"):
        Tokenizer.load(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("size", [-1, 0, 259, 65_537, 100_000])
def test_an_impossible_vocabulary_is_refused(size: int) -> None:
    """65,537 ids do not fit in the 16 bits of the caches; below 260 some bytes have no token."""
    with pytest.raises(UsageError, match="not possible") as caught:
        train_tokenizer(TEXT, vocab_size=size)
    assert "260" in caught.value.hint
    assert "65536" in caught.value.hint


def test_the_smallest_vocabulary_is_bytes_and_specials() -> None:
    """The lower limit really works."""
    tokenizer = train_tokenizer(TEXT, vocab_size=260)
    assert tokenizer.token_bytes[:256].tolist() == [1] * 256
    assert tokenizer.decode(tokenizer.encode("Grüße")) == "Grüße"


def test_little_text_gives_a_smaller_vocabulary() -> None:
    """No tokens are invented; the vocabulary says what is there."""
    assert train_tokenizer(["ab ab ab"], vocab_size=1000).vocab == 260 + 2


def test_only_the_beginning_of_a_document_and_of_the_text_is_learned_from() -> None:
    """One huge document must not decide the vocabulary, nor a huge data set the time."""
    letters = random.Random(0)
    tail = "".join(letters.choices("xyz", k=5000))
    plain = train_tokenizer(["the cat " * 50], vocab_size=300)
    capped = train_tokenizer(["the cat " * 50 + tail], vocab_size=300, document_cap=400)
    assert capped.sha256 == plain.sha256
    stopped = train_tokenizer(["the cat " * 50, tail], vocab_size=300, text_cap=400)
    assert stopped.sha256 == plain.sha256
