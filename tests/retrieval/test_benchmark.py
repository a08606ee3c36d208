"""Figures of mteb's tasks, measured through a sandboxed child, are those of mteb with the library's own encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from patcher.errors import SourceError, UsageError
from patcher.retrieval import benchmark
from patcher.retrieval.benchmark import Tasks, evaluate
from patcher.retrieval.encoder import Settings
from patcher.retrieval.model import find_model
from patcher.threshold.evaluation import bundled_questions
from patcher.threshold.repaired import repair
from tests.retrieval.made_up import exact_top, random_vectors

pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of the bundled questions and their passages, laid out as BEIR does."""
    folder = tmp_path_factory.mktemp("beir") / "some-questions"
    (folder / "qrels").mkdir(parents=True)
    data = benchmark.bundled()
    queries = dict(list(data.queries.items())[:12])
    documents = {key: text for key, text in data.documents.items() if key.partition("/")[0] in queries}
    for name, texts in (("queries", queries), ("corpus", documents)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    judged = [f"{key}\t{key}/right\t1" for key in queries] + ["gone\tgone/right\t1"]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n")
    return folder


def test_the_bundled_questions_are_those_of_a_threshold_the_hard_ones_too() -> None:
    data, all_of_them = benchmark.bundled(), bundled_questions()
    assert len(data.queries) == 120 and (data.queries, data.documents) == (all_of_them.queries, all_of_them.documents)
    assert {query: tuple(right) for query, right in data.relevant.items()} == all_of_them.relevant


@pytest.mark.parametrize("scored", [benchmark.SCORED, 64])
def test_the_best_documents_are_those_of_exact_dot_products(monkeypatch: pytest.MonkeyPatch, scored: int) -> None:
    monkeypatch.setattr(benchmark, "SCORED", scored)
    documents, queries = random_vectors(300, 1), random_vectors(30, 2)
    ids = [f"d{number:03d}" for number in range(300)]
    best = benchmark._Best([str(number) for number in range(30)], ids, 10)
    best.add("query", queries)
    for start in range(0, 300, 50):
        rows = list(documents.rows())[start : start + 50]
        counts = documents.counts[start : start + 50]
        part = [np.concatenate(column) for column in zip(*rows, strict=True)]
        best.add("document", type(documents)(documents.width, counts, *part))
    best.score()
    found = best.found()
    ranked = [sorted(scores, key=lambda one: (-scores[one], one)) for scores in found.values()]
    assert ranked == exact_top(queries, documents, ids)


def test_figures_are_those_of_mteb_and_a_second_run_keeps_them(patched: Path, folder: Path, tmp_path: Path) -> None:
    import mteb
    from sentence_transformers import SparseEncoder

    model = find_model(str(patched), None, repair)
    asked = Tasks(folders=(folder,))
    done: list[tuple[str, str]] = []
    options = {"bm25": True, "progress": lambda *step: done.append(step)}
    first = evaluate({"mini": model}, asked, Settings("cpu"), tmp_path / "out", **options)
    assert done == [("some-questions", "mini"), ("some-questions", "BM25")]
    assert first.notes == ("some-questions: 1 judgements of texts that are not in the folder were left out.",)
    ours, bm25 = first.rows
    (task,), _ = benchmark._find_tasks(asked)
    library = SparseEncoder(str(patched), trust_remote_code=True, device="cpu")
    theirs = mteb.evaluate(library, task, cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = theirs.task_results[0].scores["test"]
    assert ours.ndcg_at_10 == pytest.approx(scores["ndcg_at_10"], abs=1e-5)
    assert ours.mrr_at_10 == pytest.approx(scores["mrr_at_10"], abs=1e-5)
    assert 0.5 < ours.ndcg_at_10 < bm25.ndcg_at_10 <= 1 and bm25.costs is None
    assert ours.costs is not None and 0 < ours.costs.query_active_dims < ours.costs.document_active_dims
    (written,) = first.results.glob("mini/*/some-questions.json")
    assert json.loads(written.read_text())["scores"]["test"][0]["ndcg_at_10"] == pytest.approx(
        ours.ndcg_at_10, abs=1e-5
    )

    class NotAgain:
        """Stands in for nothing: the model must not run a second time."""

        snapshot = model.snapshot

    again = evaluate({"mini": NotAgain()}, asked, Settings("cpu"), tmp_path / "out", **options)  # type: ignore[dict-item]
    assert again == first


def test_what_is_no_retrieval_task_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for name, says in (
        ("NoSuchTask", "mteb has no task 'NoSuchTask'"),
        ("SweRecClassification", "is a Classification task"),
    ):
        with pytest.raises(UsageError, match=says):
            evaluate({}, Tasks((name,)), Settings("cpu"), tmp_path, bm25=False)


def test_a_data_set_that_can_t_be_loaded_could_not_be_measured(
    patched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nothing is waited for
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    model = find_model(str(patched), None, repair)
    with pytest.raises(SourceError, match="NorQuadRetrieval can't be evaluated"):
        evaluate({"mini": model}, Tasks(("NorQuadRetrieval",)), Settings("cpu"), tmp_path, bm25=False)


def test_the_norwegian_tasks_are_the_default() -> None:
    found, notes = benchmark._find_tasks(Tasks())
    assert [task.metadata.name for task in found] == ["NorQuadRetrieval", "SNLRetrieval"] and notes == []
    assert all("nob-Latn" in task.metadata.eval_langs for task in found)
    nano, _ = benchmark._find_tasks(Tasks(nanobeir=True))
    assert len(nano) == 13 and all(task.metadata.name.startswith("Nano") for task in nano)
