"""Texts are encoded in batches of so many tokens; one that does not fit into memory is halved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from patcher.verify.measure.encoding import BATCH_TOKENS, encode, in_batches, in_order
from patcher.verify.settings import batch_tokens

TEXTS = ["aa bb", "a", "cccccccccc", "bb", "c a"]
LETTERS = "abc"


def letters(texts: Sequence[str]) -> torch.Tensor:
    """How often each letter stands in each text; [texts, 3]."""
    return torch.tensor([[float(text.count(letter)) for letter in LETTERS] for text in texts])


def model(run: Callable[..., torch.Tensor], vocabulary: int = 10) -> Any:
    """A model that encodes queries with `run`."""
    return SimpleNamespace(
        encode_query=run, device=torch.device("cpu"), tokenizer=range(vocabulary), max_seq_length=None
    )


@pytest.mark.parametrize("tokens", [1, 8, 1000])
def test_vectors_come_in_the_order_of_the_texts_whatever_the_batches(tokens: int) -> None:
    assert torch.equal(in_order(in_batches(letters, TEXTS, tokens, 1000), len(TEXTS)), letters(TEXTS))


def test_a_batch_holds_no_more_tokens_than_it_may_and_the_longest_texts_come_first() -> None:
    batches = [[TEXTS[one] for one in numbers] for numbers, _ in in_batches(letters, TEXTS, 14, 1000)]
    longest = [len(max(batch, key=len)) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert all(len(batch) == 1 or len(batch) * (most + 2) <= 14 for batch, most in zip(batches, longest, strict=True))
    # The model cuts each text after two tokens.
    assert len(list(in_batches(letters, TEXTS, 10, 2))) == 1


@pytest.mark.parametrize(("vocabulary", "batches"), [(51_200, [2]), (2 * 51_200, [1, 1])])
def test_a_large_vocabulary_makes_batches_smaller(vocabulary: int, batches: list[int]) -> None:
    texts = ["a" * (BATCH_TOKENS["cpu"] // 2 - 2)] * 2
    found = encode(model(lambda some, **_: letters(some), vocabulary), texts, "encode_query")
    assert [len(numbers) for numbers, _ in found] == batches
    assert batch_tokens(1024, 0) == 1024 and batch_tokens(8, 10**9) == 1


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    sizes: list[int] = []

    def run(texts: list[str], **options: Any) -> torch.Tensor:
        assert options["convert_to_sparse_tensor"] is False and options["max_active_dims"] == 3
        sizes.append(len(texts))
        if len(texts) > 2:
            raise RuntimeError("CUDA out of memory")
        return letters(texts)

    found = in_order(encode(model(run), TEXTS, "encode_query", max_active_dims=3), len(TEXTS))
    assert torch.equal(found, letters(TEXTS))
    assert sizes[0] == 5 and max(sizes[1:]) <= 3


@pytest.mark.parametrize(("error", "tries"), [("other", 1), ("out of memory", 4)])
def test_an_error_that_smaller_batches_do_not_help_is_raised(error: str, tries: int) -> None:
    sizes: list[int] = []

    def run(texts: list[str], **_: Any) -> torch.Tensor:
        sizes.append(len(texts))
        raise RuntimeError(error)

    with pytest.raises(RuntimeError, match=error):
        list(encode(model(run), TEXTS * 2, "encode_query"))
    assert len(sizes) == tries
