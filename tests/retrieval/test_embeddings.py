"""What the child does with one window of texts, without starting one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patcher.retrieval.embeddings import _terms, _vectors
from patcher.verify.measure.encoding import in_batches
from tests.conftest import MINI
from tests.retrieval.made_up import dense

TEXTS = ["aa bb", "a", "cccccccccc", "bb", "c a"]
LETTERS = "abc"


def letters(texts: Sequence[str]) -> torch.Tensor:
    """How often each letter stands in each text; [texts, 3]."""
    return torch.tensor([[float(text.count(letter)) for letter in LETTERS] for text in texts])


@pytest.mark.parametrize("tokens", [1, 8, 1000])
def test_vectors_come_in_the_order_of_the_texts_whatever_the_batches(tokens: int) -> None:
    found = _vectors(in_batches(letters, TEXTS, tokens, 1000), len(TEXTS))
    assert dense(found).tolist() == letters(TEXTS).tolist()


def test_numbers_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        _vectors(iter([([0], torch.tensor([[torch.nan]]))]), 1)


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
