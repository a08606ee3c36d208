"""A saved copy gives sparse vectors by itself, survives saving and loading, and takes nobody's place."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sentence_transformers import SparseEncoder

from patcher.errors import OutputError, SourceError, UsageError
from patcher.source.snapshot import resolve
from patcher.threshold.repaired import RepairedModel, repair
from patcher.threshold.save import check_save, save
from patcher.verify.report import Check
from tests.conftest import MINI
from tests.threshold.test_plot import REPORT

QUERIES = ["Hva er hovedstaden i Norge?", "Hvem skrev romanen Sult?"]
DOCUMENTS = ["Oslo er hovedstaden og den største byen i Norge.", "Kari."]
PASSED = replace(
    REPORT,
    checks=(Check("loads_right", True, 0, 0, "none"),),
    environment={"device": "cpu", "sentence_transformers": "6", "transformers": "5"},
)
CARD = "---\nlanguage:\n- 'no'\nlicense: apache-2.0\n---\n\n# My model\n\nTrained on something.\n"


@pytest.fixture(scope="module")
def model(hand_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> RepairedModel:
    folder = shutil.copytree(hand_made_once, tmp_path_factory.mktemp("model") / "with-card")
    (folder / "README.md").write_text(CARD, newline="")
    return repair(resolve(str(folder)))


@pytest.fixture(scope="module")
def saved(model: RepairedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the threshold 0.05. Not to be written to."""
    return save(model, PASSED, tmp_path_factory.mktemp("saved") / "saved-with-threshold")


@pytest.fixture(scope="module")
def plain(model: RepairedModel, tmp_path_factory: pytest.TempPathFactory) -> SparseEncoder:
    """The same model without a threshold, loaded right."""
    folder = tmp_path_factory.mktemp("plain") / "without-threshold"
    folder.mkdir()
    model.write(folder, link=True)
    return SparseEncoder(str(folder), trust_remote_code=True, device="cpu")


def load(folder: Path) -> SparseEncoder:
    return SparseEncoder(str(folder), trust_remote_code=True, device="cpu")


def test_embeddings_are_sparse_without_a_line_of_user_code_and_otherwise_the_same(
    saved: Path, plain: SparseEncoder
) -> None:
    model = load(saved)
    for encode, reference, texts in (
        (model.encode_query, plain.encode_query, QUERIES),
        (model.encode_document, plain.encode_document, DOCUMENTS),
    ):
        raw = reference(texts, convert_to_sparse_tensor=False)
        expected = torch.where(raw < 0.05, 0, raw)
        assert int((raw == 0).sum()) == 0
        assert torch.equal(encode(texts, convert_to_sparse_tensor=False), expected)
        sparse = encode(texts)
        assert sparse.is_sparse
        assert torch.equal(sparse.to_dense(), expected)
        assert sparse.coalesce().values().min() >= 0.05
        assert model.sparsity(sparse)["sparsity_ratio"] > 0.98


def test_saving_and_loading_again_twice_keeps_every_embedding(saved: Path, tmp_path: Path) -> None:
    model = load(saved)
    expected = model.encode_document(DOCUMENTS, convert_to_sparse_tensor=False)
    for name in ("again", "and-again"):
        model.save_pretrained(str(tmp_path / name), create_model_card=False)
        model = load(tmp_path / name)
        assert type(model[-1]).__name__ == "SparseThreshold"
        assert torch.equal(model.encode_document(DOCUMENTS, convert_to_sparse_tensor=False), expected)


def test_the_folder_holds_repaired_code_with_its_cap_and_the_same_weights(saved: Path, hand_made_once: Path) -> None:
    code = (saved / "modeling_gptbert.py").read_bytes()
    assert b"30 * torch.sigmoid" in code
    assert code != (MINI / "modeling_gptbert.py").read_bytes()
    assert (saved / "model.safetensors").read_bytes() == (hand_made_once / "model.safetensors").read_bytes()
    assert not [path for path in saved.rglob("*") if path.is_symlink()]


def test_the_card_says_what_was_done_above_the_original_and_keeps_its_metadata(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlanguage:\n- 'no'\nlicense: apache-2.0\n---\n")
    assert "threshold of **0.05**" in card
    assert "embedding sparsity" in card
    assert card.index("SparseThreshold") < card.index("# My model")
    assert card.endswith("Trained on something.\n")


def test_a_model_without_a_card_gets_one_with_its_own_metadata(hand_made_once: Path, tmp_path: Path) -> None:
    out = save(repair(resolve(str(hand_made_once))), PASSED, tmp_path / "saved")
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "original model" not in card


def test_the_record_holds_the_report(saved: Path) -> None:
    record = json.loads((saved / "threshold.json").read_text())
    assert record["report"]["threshold"] == 0.05
    assert record["report"]["passed"] is True


def test_an_earlier_copy_is_replaced_and_nothing_else_stays(model: RepairedModel, tmp_path: Path) -> None:
    out = save(model, PASSED, tmp_path / "saved")
    (out / "old.txt").write_text("old")
    rows = (PASSED.rows[0], replace(PASSED.rows[1], threshold=0.1))
    save(model, replace(PASSED, threshold=0.1, rows=rows), out)
    assert not (out / "old.txt").exists()
    assert json.loads((out / "2_SparseThreshold" / "config.json").read_text())["threshold"] == 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_somebody_else_s_folder_is_left_alone(model: RepairedModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for act in (lambda: check_save(model, tmp_path), lambda: save(model, PASSED, tmp_path)):
        with pytest.raises(OutputError, match="not written by splade-patcher"):
            act()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_is_not_written_over_itself(model: RepairedModel) -> None:
    with pytest.raises(UsageError, match="is the model itself"):
        check_save(model, Path(str(model.snapshot.source.path)))


def test_a_failed_check_saves_nothing(model: RepairedModel, tmp_path: Path) -> None:
    failed = replace(PASSED, checks=(Check("query_sparsity", False, 0.5, 0.99, "low"),))
    with pytest.raises(OutputError, match="a check failed"):
        save(model, failed, tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_middle_leaves_the_earlier_copy_whole(hand_made_once: Path, tmp_path: Path) -> None:
    source = shutil.copytree(hand_made_once, tmp_path / "model")
    model = repair(resolve(str(source)))
    out = save(model, PASSED, tmp_path / "out" / "saved")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (source / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"tokenizer\.json"):
        save(model, PASSED, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in out.parent.iterdir()] == ["saved"]


def test_a_model_without_a_cap_needs_no_threshold(model: RepairedModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs no threshold"):
        check_save(replace(model, capped=False), tmp_path / "saved")
