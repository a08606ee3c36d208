"""Texts go through in sorted batches, each tokenised once; a batch that does not fit is halved and counted once."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import document, to_json
from patcher.patching.record import load
from patcher.verify.measure import batches as module
from patcher.verify.measure.batches import Encoded, batches, collate, windows
from patcher.verify.measure.logits import measure
from patcher.verify.requests import prepare
from patcher.verify.settings import Verification
from patcher.verify.texts import load_probe_texts
from patcher.verify.verification import verify
from tests.conftest import Run
from tests.verify.running import failed, wanted
from tests.verify.test_verification import edit


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


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_counted_twice(patched: Path, tmp_path: Path) -> None:
    model, asked = load(patched), Verification(load_probe_texts(), ("cpu",))
    whole = measure(prepare(model, tmp_path / "whole", asked, "cpu"))
    edit(
        patched,
        "        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)\n",
        "        if input_ids.shape[0] > 2:\n            raise torch.OutOfMemoryError('CUDA out of memory')\n"
        "        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)\n",
    )
    report = verify(load(patched), asked)
    assert report.environment["batch_size"] <= 2 and whole.batch_size == 32
    assert report.passed, failed(report)
    assert [text["id"] for text in report.probe_texts] == [text.id for text in whole.probe_texts]
    for side in ("base", "patched"):
        one, other = getattr(report, side), to_json(getattr(whole, side))
        assert sum(one["histogram"]["counts"]) == sum(other["histogram"]["counts"])
        assert sum(bin["texts"] for bin in one["by_length"]) == len(asked.texts)
        for key in ("min", "max", "logit_sparsity", "negative_fraction"):
            assert one[key] == pytest.approx(other[key], rel=1e-5)


@pytest.mark.parametrize("error", ["MemoryError()", "RuntimeError('MPS backend out of memory')"])
def test_memory_that_one_text_alone_lacks_is_a_finding(patched: Path, tmp_path: Path, error: str) -> None:
    edit(
        patched, "        first_row = torch.zeros_like", f"        raise {error}\n        first_row = torch.zeros_like"
    )
    answer = measure(prepare(load(patched), tmp_path / "scratch", wanted(), "cpu"))
    assert answer.failure.startswith(error.partition("(")[0])


def test_other_errors_are_not_taken_for_a_lack_of_memory(patched: Path, tmp_path: Path) -> None:
    edit(
        patched,
        "        first_row = torch.zeros_like",
        "        assert input_ids.shape[0] == 1, 'too many'\n        first_row = torch.zeros_like",
    )
    answer = measure(prepare(load(patched), tmp_path / "scratch", wanted(), "cpu"))
    assert answer.failure == "AssertionError: too many"


def test_the_same_inputs_give_the_same_report_byte_for_byte(patched: Path, cli: Run) -> None:
    reports = []
    for _ in range(2):
        assert cli("verify", patched, "--trust-remote-code", "--device", "cpu", "--quiet").returncode == 0
        reports.append((patched / "report.json").read_bytes())
        (patched / "report.json").unlink()
    assert reports[0] == reports[1]


def test_a_failing_report_is_the_same_each_time_too(patched: Path) -> None:
    edit(
        patched,
        "        first_row = torch.zeros_like",
        "        raise ValueError(__file__)\n        first_row = torch.zeros_like",
    )
    reports = [document(verify(load(patched), wanted())) for _ in range(2)]
    assert reports[0] == reports[1]


def test_progress_tells_how_many_texts_are_done(patched: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify(load(patched), wanted(*["Oslo er hovedstaden i Norge."] * 50), progress=lambda *said: told.append(said))
    assert (told[0], told[-1]) == (("cpu", 0, 50), ("cpu", 50, 50))  # also while libraries and weights are loaded
    assert all(0 <= done <= total == 50 for _, done, total in told)


def test_the_strongest_terms_stand_beside_each_text(patched: Path, tmp_path: Path) -> None:
    found = measure(prepare(load(patched), tmp_path / "scratch", wanted("x" * 3000, "Oslo er stor."), "cpu"))
    first, second = found.probe_texts
    assert first.text == "x" * 2000 + "…" and second.text == "Oslo er stor."
    terms = second.patched.terms
    assert 0 < len(terms) <= 12 and second.patched.active_dims >= len(terms)
    assert [weight for _, weight in terms] == sorted((weight for _, weight in terms), reverse=True)
    assert len(second.base.terms) == 12 and second.base.active_dims == 8192
    assert all(isinstance(term, str) and term == term.strip() and term for term, _ in terms)
