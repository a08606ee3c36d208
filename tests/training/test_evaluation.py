"""The evaluators: held-out rows, BEIR folders, NanoBEIR, the bundled questions; which metric chooses the best step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from patcher.errors import SourceError, UsageError
from tests.training.conftest import Configure, write_beir, write_nano_beir


def evaluator(path: Path) -> Any:
    from training_config import read_config
    from training_data import read_sets
    from training_evaluation import make_evaluator

    config = read_config(path)
    return make_evaluator(config, read_sets(config))


def relevant(one: Any) -> dict[str, set[str]]:
    """The right documents of each query, as texts."""
    documents = dict(zip(one.corpus_ids, one.corpus, strict=True))
    queries = dict(zip(one.queries_ids, one.queries, strict=True))
    return {queries[query]: {documents[key] for key in keys} for query, keys in one.relevant_docs.items()}


def test_held_out_rows_are_searched_among_all_their_passages(configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "held.jsonl"
    rows = [{"q": "a", "p": "1", "n": ["2", "3"]}, {"q": "a", "p": "2", "n": ["4"]}, {"q": "b", "p": "1", "n": None}]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    columns = {"query": "q", "positive": "p", "negatives": "n"}
    held = {"name": "held", "source": str(path), "columns": columns, "eval_share": 1}
    sets = yaml.safe_load(configure().read_text("utf-8"))["datasets"]
    [one] = evaluator(configure(datasets=[sets[0], held])).evaluators
    assert one.name == "held"
    assert sorted(one.corpus) == ["1", "2", "3", "4"]
    assert relevant(one) == {"a": {"1", "2"}, "b": {"1"}}


def test_the_bundled_questions_are_taken_where_nothing_else_is_asked_for(configure: Configure, rows_file: Path) -> None:
    from patcher.verify.texts import load_questions

    questions = load_questions()
    columns = {"query": "query", "positive": "positive"}
    [one] = evaluator(configure(datasets=[{"source": str(rows_file), "columns": columns}])).evaluators
    assert sorted(one.queries) == sorted({question.query for question in questions})
    assert set(one.corpus) == {text for one in questions for text in (one.positive, *one.negatives)}


def test_a_beir_folder_is_read_with_its_titles_and_its_judgements(configure: Configure, tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "folder")
    found = evaluator(configure(evaluation__beir=[str(folder)])).evaluators
    assert [one.name for one in found] == ["eval", "folder"]
    assert found[1].corpus == ["Oslo er hovedstaden i Norge.", "Om fisk Torsken lever i havet."]
    assert relevant(found[1]) == {"Hva er hovedstaden i Norge?": {"Oslo er hovedstaden i Norge."}}, "0 is not relevant"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("corpus.jsonl", r"evaluation\.beir: .*corpus\.jsonl: can't be read \(No such file or directory\)"),
        ("qrels/test.tsv", r"evaluation\.beir: .* has no qrels/test\.tsv"),
    ],
)
def test_a_beir_folder_that_is_not_whole_is_refused(
    configure: Configure, tmp_path: Path, broken: str, message: str
) -> None:
    folder = write_beir(tmp_path / "folder")
    (folder / broken).unlink()
    with pytest.raises(UsageError, match=message):
        evaluator(configure(evaluation__beir=[str(folder)]))


def test_a_beir_folder_whose_ids_do_not_fit_is_refused(configure: Configure, tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "folder")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq9\td1\t1\n", "utf-8")
    with pytest.raises(UsageError, match=r"makes no document of corpus\.jsonl relevant"):
        evaluator(configure(evaluation__beir=[str(folder)]))


def test_nanobeir_is_read_from_any_data_set_that_is_laid_out_like_it(configure: Configure, tmp_path: Path) -> None:
    nano = {"evaluation__nanobeir": ["nfcorpus"], "evaluation__nanobeir_id": str(write_nano_beir(tmp_path / "nano"))}
    found = evaluator(configure(**nano)).evaluators
    assert [one.name for one in found] == ["eval", "NanoBEIR_mean"]
    assert relevant(found[1].evaluators[0]) == {"Hva er hovedstaden i Norge?": {"Oslo er hovedstaden i Norge."}}
    with pytest.raises(SourceError, match=r"evaluation\.nanobeir: .* can't be loaded"):
        evaluator(configure(**{**nano, "evaluation__nanobeir": ["quora"]}))


def test_nanobeir_that_can_not_be_reached_is_told_in_two_lines(
    configure: Configure, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from train_splade import main

    for module in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
        monkeypatch.setattr(module, True)
    assert main([str(configure(evaluation__nanobeir=["nfcorpus"]))]) == 3
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("Error: evaluation.nanobeir: sentence-transformers/NanoBEIR-en can't be loaded: ")
    assert "offline" in error.lower() or "reach" in error.lower()
    assert hint == "Hint: Check the connection, evaluation.nanobeir and evaluation.nanobeir_id."


def test_the_metric_is_checked_on_ten_rows_and_the_nearest_is_named(
    configure: Configure, bases: dict[str, Path]
) -> None:
    from sentence_transformers import SparseEncoder
    from training_evaluation import try_evaluator

    model = SparseEncoder(str(bases["patched"]), trust_remote_code=True, device="cpu")
    one = evaluator(configure())
    both = evaluator(configure(evaluation__bundled_questions=True))
    assert try_evaluator(model, one, None) == "eval_dot_ndcg@10"
    assert try_evaluator(model, both, None) == "sequential_score"
    assert try_evaluator(model, both, "bundled_dot_mrr@10") == "bundled_dot_mrr@10"
    assert not model.model_card_data.eval_results_dict, "the card shows no figures of ten rows"
    with pytest.raises(UsageError, match="no evaluation gives bundled_ndcg@10") as caught:
        try_evaluator(model, both, "bundled_ndcg@10")
    assert caught.value.hint == "Did you mean bundled_dot_ndcg@10?"
