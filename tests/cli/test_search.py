"""`patcher search` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.cli import main
from tests.conftest import Run

TEXTS = ["Kari bor på øya Hitra.", "Ola liker fisk.", "Hytta ligger på en øy ved havet."]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    return path


def test_documents_are_ranked_and_the_terms_that_matched_are_words(patched: Path, documents: Path, cli: Run) -> None:
    done = cli("search", patched, documents, "Hvor er øya?", "--trust-remote-code", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    scores = [hit["score"] for hit in found["hits"]]
    assert found["documents"] == 3 and found["hits"][0]["id"] == "d0" and scores == sorted(scores, reverse=True)
    terms = {one["term"]: one["weight"] for one in found["hits"][0]["terms"]}
    assert terms["øya"] > 0 and "Ã" not in done.stdout
    assert sum(terms.values()) <= found["hits"][0]["score"] + 1e-3


def test_the_table_shows_documents_and_terms(
    patched: Path, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", patched, documents, "Hvor er øya?", "--trust-remote-code", "--device", "cpu", "--top", "2"]
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    assert "Kari bor på øya Hitra." in out and "The question's terms:" in out and "of 3 documents share a term" in out
    assert len([line for line in out.splitlines() if line.startswith(("1 ", "2 "))]) == 2
    assert "Encoding" in err


def test_nothing_runs_without_a_yes(patched: Path, documents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(patched), str(documents), "Hva?"]) == 3
    assert "--trust-remote-code" in capsys.readouterr().err


def test_an_ordinary_splade_model_has_no_code_to_trust(documents: Path, tmp_path: Path, cli: Run) -> None:
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    words = sorted({word.strip(".?").lower() for text in [*TEXTS, "Hvor er øya?"] for word in text.split()})
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *words]))
    tokenizer = BertTokenizerFast(str(vocabulary), strip_accents=False)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = tmp_path / "bert-splade"
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(model)
    tokenizer.save_pretrained(model)
    done = cli("search", model, documents, "Hvor er øya?", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 3
