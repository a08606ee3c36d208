"""What the child does with one window of texts, without starting one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from patcher.retrieval.embeddings import _encode, _encode_window, _terms
from tests.conftest import MINI
from tests.retrieval.made_up import dense

TEXTS = ["aa bb", "a", "cccccccccc", "bb", "c a"]
LETTERS = "abc"


def letters(texts: Sequence[str]) -> torch.Tensor:
    """How often each letter stands in each text; [texts, 3]."""
    return torch.tensor([[float(text.count(letter)) for letter in LETTERS] for text in texts])


@pytest.mark.parametrize("budget", [1, 8, 1000])
def test_vectors_come_in_the_order_of_the_texts_whatever_the_batches(budget: int) -> None:
    assert dense(_encode_window(letters, TEXTS, budget, 1000)).tolist() == letters(TEXTS).tolist()


def test_a_batch_holds_no_more_tokens_than_it_may_and_the_longest_texts_come_first() -> None:
    batches: list[list[str]] = []

    def noted(texts: Sequence[str]) -> torch.Tensor:
        batches.append(list(texts))
        return letters(texts)

    _encode_window(noted, TEXTS, 14, 1000)
    assert [len(max(batch, key=len)) for batch in batches] == sorted(
        (len(max(batch, key=len)) for batch in batches), reverse=True
    )
    assert all(len(batch) == 1 or len(batch) * (len(max(batch, key=len)) + 2) <= 14 for batch in batches)
    batches.clear()
    _encode_window(noted, TEXTS, 10, 2)  # the model cuts each text after two tokens
    assert len(batches) == 1


def test_numbers_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        _encode_window(lambda texts: letters(texts) * torch.nan, TEXTS, 100, 100)


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    sizes: list[int] = []

    def run(texts: list[str], **_: Any) -> torch.Tensor:
        sizes.append(len(texts))
        if len(texts) > 2:
            raise RuntimeError("CUDA out of memory")
        return letters(texts)

    model = SimpleNamespace(encode_query=run, encode_document=run, device=torch.device("cpu"))
    assert _encode(model, "query", None, TEXTS).tolist() == letters(TEXTS).tolist()
    assert sizes[0] == 5 and max(sizes[1:]) <= 3
    with pytest.raises(RuntimeError, match="other"):
        _encode(SimpleNamespace(encode_query=lambda *_, **__: _fail()), "query", None, TEXTS)


def _fail() -> None:
    raise RuntimeError("other")


def test_terms_are_letters_not_bytes() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(MINI))
    terms = _terms(tokenizer)
    ids = tokenizer("Sjælland på øya", add_special_tokens=False).input_ids
    assert "".join(terms[one] for one in ids).replace(" ", "") == "Sjællandpåøya"
    assert terms[tokenizer.bos_token_id] == tokenizer.bos_token and len(terms) == len(tokenizer)
    assert all(terms)


def test_windows_of_the_child_are_read_back(encoded: dict[str, Any]) -> None:
    vectors = encoded["document"].vectors
    assert len(vectors) == len(encoded["document"].ids) and np.all(vectors.counts > 0)
    assert Path(encoded["document"].file).is_file()
