"""Texts go through in sorted batches, each tokenised once; a batch that does not fit is halved and counted once."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from patcher.verify.measure import batches as module
from patcher.verify.measure.batches import Encoded, batches, collate, windows


class Words:
    """A tokenizer that gives each word its length, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> dict[str, list[list[int]]]:
        self.seen += texts
        return {"input_ids": [[len(word) for word in text.split()][:max_length] for text in texts]}


def written(path: Path, texts: Iterable[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return str(path)


def test_each_text_is_tokenised_once_and_comes_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 10)
    monkeypatch.setattr(module, "_SLICE", 4)
    texts = [f"{'a ' * (number % 7)}b" for number in range(23)]
    tokenizer = Words()
    found = list(windows(written(tmp_path / "texts.jsonl", texts), tokenizer, 512))
    assert tokenizer.seen == texts
    assert [len(window) for window in found] == [10, 10, 3]
    assert sorted(one.index for window in found for one in window) == list(range(23))
    for window in found:
        lengths = [len(one.ids) for one in window]
        assert lengths == sorted(lengths, reverse=True)


def test_batches_keep_to_their_texts_and_to_their_tokens() -> None:
    window = [Encoded(index, array("i", range(length))) for index, length in enumerate((30, 20, 10, 9, 8, 1, 1, 1))]
    found = [[len(one.ids) for one in batch] for batch in batches(window, 3, 40)]
    assert found == [[30], [20, 10], [9, 8, 1], [1, 1]]
    assert list(batches(window[:1], 3, 10)) == [window[:1]], "a text alone goes through whatever its length"


def test_padding_stands_on_the_right_and_is_masked() -> None:
    inputs = collate([Encoded(0, array("i", [5, 6])), Encoded(1, array("i", [7]))], 9, "cpu")
    assert inputs["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1], [1, 0]]
