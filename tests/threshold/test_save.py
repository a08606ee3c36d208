"""A saved copy gives sparse vectors by itself, survives saving and loading, and takes nobody's place."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.documents.card import front_matter
from patcher.errors import OutputError, SourceError, UsageError
from patcher.source.metadata import read_metadata
from patcher.source.snapshot import Source, resolve
from patcher.threshold.messages import Point
from patcher.threshold.repaired import RepairedModel, repair
from patcher.threshold.save import check_save, save
from patcher.verify.report import Check
from tests.conftest import COMMIT, MINI
from tests.threshold.made_up import PASSED


def test_the_folder_holds_repaired_code_with_its_cap_and_the_same_weights(saved: Path, hand_made_once: Path) -> None:
    code = (saved / "modeling_gptbert.py").read_bytes()
    assert b"30 * torch.sigmoid" in code
    assert code != (MINI / "modeling_gptbert.py").read_bytes()
    assert (saved / "model.safetensors").read_bytes() == (hand_made_once / "model.safetensors").read_bytes()
    assert not [path for path in saved.rglob("*") if path.is_symlink()]


def test_the_card_says_what_was_done_above_the_original_and_keeps_its_metadata(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlanguage:\n- 'no'\nlicense: apache-2.0\nlibrary_name: sentence-transformers\n")
    assert "threshold of **0.05**" in card
    assert "embedding sparsity" in card
    assert card.index("SparseThreshold") < card.index("# My model")
    assert "Trained on something.\n\n<!-- splade-patcher card" in card


def test_the_card_names_its_versions_and_its_source_and_is_found_among_sparse_encoders(
    model: RepairedModel, tmp_path: Path
) -> None:
    report = replace(PASSED, source=Source("ola/trained", COMMIT, None))
    card = (save(model, report, tmp_path / "saved") / "README.md").read_text("utf-8")
    data = read_metadata(card)
    tags = data.pop("tags")
    assert data == {
        "language": ["no"],
        "license": "apache-2.0",
        "base_model": "ola/trained",
        "base_model_relation": "finetune",
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
    }
    assert {"sentence-transformers", "sparse-encoder", "splade", "custom_code"} <= set(tags)
    assert "it was saved with sentence-transformers 6 and transformers 5." in card
    assert f"[ola/trained](https://huggingface.co/ola/trained) at commit `{COMMIT}`" in card


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        ("license: [mit, apache-2.0]", {"license": ["mit", "apache-2.0"]}),
        (
            "license: other\nlicense_name: mine\ntags: x",
            {"license": "other", "license_name": "mine", "tags": ["y", "x"]},
        ),
    ],
)
def test_a_licence_of_the_other_card_is_kept_as_it_is(block: str, kept: dict[str, object]) -> None:
    made = front_matter(f"---\n{block}\n---\n# A\n", Source(None, None, "m", base_model="ola/base"), tags=["y"])
    data = read_metadata(f"---\n{made}---\n")
    assert data.items() >= kept.items() and data["base_model"] == "ola/base"


def test_metadata_that_can_not_be_read_stands_in_the_new_card_as_it_was() -> None:
    block = "license: mit\nlanguage: [\n"
    assert front_matter(f"---\n{block}---\n# A\n", Source(None, None, "m"), tags=["y"]) == block


def test_the_card_has_bm25_s_figures_on_the_same_texts_and_says_that_grades_are_not_told_apart(
    model: RepairedModel, tmp_path: Path
) -> None:
    figures = {"ndcg@10": 0.6123, "mrr@10": 0.5, "recall@10": 0.8}
    graded = replace(PASSED, bm25=figures, evaluation=replace(PASSED.evaluation, graded=True))
    card = (save(model, graded, tmp_path / "saved") / "README.md").read_text()
    assert "BM25 with a Norwegian stemmer reaches ndcg@10 0.6123, mrr@10 0.5000, recall@10 0.8000 on the same" in card
    assert "Relevance above 1 counts as 1" in card
    plain = (save(model, PASSED, tmp_path / "plain") / "README.md").read_text()
    assert "BM25" not in plain and "counts as 1" not in plain


def test_the_example_of_the_card_runs_as_it_stands(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(saved.parent)
    exec((saved / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0], {})
    *terms, sparsity = capsys.readouterr().out.splitlines()
    assert len(terms) == 8 and not any("Ã" in term or "Ġ" in term for term in terms)
    assert "sparsity_ratio" in sparsity


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
    point = Point(0.02, 0.1, document_top_k=64)
    save(model, replace(PASSED, point=point, more_rows=(replace(PASSED.rows[1], point=point),)), out)
    assert not (out / "old.txt").exists()
    config = json.loads((out / "2_SparseThreshold" / "config.json").read_text())
    assert config == {
        "threshold": 0.1,
        "query_threshold": 0.02,
        "query_top_k": None,
        "document_top_k": 64,
        "uncapped_tasks": [],
        "dropped_dims": [],
    }
    assert "**0.02 for queries, 0.1 and top 64 for documents**" in (out / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_somebody_else_s_folder_is_left_alone(model: RepairedModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for act in (lambda: check_save(model, tmp_path), lambda: save(model, PASSED, tmp_path)):
        with pytest.raises(OutputError, match="not written by splade-patcher"):
            act()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_is_not_written_over_itself(model: RepairedModel) -> None:
    with pytest.raises(UsageError, match="is the model itself"):
        check_save(model, Path(str(model.snapshot.source.folder)))


def test_a_failed_check_saves_nothing(model: RepairedModel, tmp_path: Path) -> None:
    failed = replace(PASSED, checks=(Check("query_sparsity", False, 0.5, 0.99, "low"),))
    with pytest.raises(OutputError, match="a check failed"):
        save(model, failed, tmp_path / "saved")
    assert not list(tmp_path.iterdir())
    card = (save(model, failed, tmp_path / "saved", force=True) / "README.md").read_text()
    assert "**Failed:** `query_sparsity`: low" in card


def test_an_error_in_the_middle_leaves_the_earlier_copy_whole(hand_made_once: Path, tmp_path: Path) -> None:
    source = shutil.copytree(hand_made_once, tmp_path / "model")
    model = repair(resolve(str(source)))
    out = save(model, PASSED, tmp_path / "out" / "saved")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (source / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"tokenizer\.json of .* is not there any more"):
        save(model, PASSED, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in out.parent.iterdir()] == ["saved"]


def test_a_model_without_a_cap_needs_no_threshold(model: RepairedModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs no threshold"):
        check_save(replace(model, capped=False), tmp_path / "saved")
