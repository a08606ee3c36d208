"""Makes the evaluators: held-out rows, BEIR folders, NanoBEIR, and the Norwegian questions of this package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stderr
from copy import copy
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_config import Config, DataSet
from training_data import Rows

from patcher.errors import SourceError, UsageError
from patcher.verify.texts import load_questions
from patcher.verify.texts.beir import read_beir

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

FIGURES = (
    *("dot_ndcg@10", "dot_mrr@10", "dot_accuracy@1", "avg_flops"),
    *("query_sparsity_ratio", "corpus_sparsity_ratio", "query_active_dims", "corpus_active_dims"),
)
ROWS_TRIED = 10


def make_evaluator(config: Config, rows: Rows) -> Any:
    """One evaluator that runs all that `evaluation` asks for; its own score is the mean of their nDCG@10."""
    from sentence_transformers.base.evaluation import SequentialEvaluator
    from sentence_transformers.sparse_encoder.evaluation import SparseNanoBEIREvaluator

    wanted, batch_size = config.evaluation, config.training["per_device_eval_batch_size"]
    found: list[Any] = [_retrieval(_held_out(*held), name, batch_size) for name, held in rows.held_out.items()]
    found += [_beir(Path(folder).expanduser(), batch_size) for folder in wanted.beir]
    if wanted.nanobeir:
        names = None if wanted.nanobeir == ["all"] else wanted.nanobeir
        options = {"dataset_id": wanted.nanobeir_id, "batch_size": batch_size, "write_csv": False}
        try:
            with redirect_stderr(StringIO()):  # its progress bar would stand before the error on the same line
                found.append(SparseNanoBEIREvaluator(names, **options))
        except Exception as error:  # a data set fails in as many ways as there are formats
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            hint = "Check the connection, evaluation.nanobeir and evaluation.nanobeir_id."
            raise SourceError(f"evaluation.nanobeir: {wanted.nanobeir_id} can't be loaded: {reason}", hint) from error
    if wanted.bundled_questions or not found:
        texts = ((one.query, one.positive, one.negatives) for one in load_questions())
        found.append(_retrieval(texts, "bundled", batch_size))
    return SequentialEvaluator(found, main_score_function=lambda scores: sum(scores) / len(scores))


def figures(metrics: Mapping[str, Any], evaluator: Any) -> dict[str, float]:
    """The figures that are reported: those of the first evaluator by their own names, the others' with its name."""
    first = f"{evaluator.evaluators[0].name}_"
    found = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    kept = {name: float(value) for name, value in found.items() if name.endswith(FIGURES)}
    own = {name.removeprefix(first): value for name, value in kept.items() if name.removeprefix(first) in FIGURES}
    return {
        **{name: own[name] for name in FIGURES if name in own},
        **{n: v for n, v in kept.items() if n[len(first) :] not in own},
    }


def try_evaluator(model: SparseEncoder, evaluator: Any, metric: str | None) -> str:
    """Run the evaluation on ten rows of each set; returns the metric that chooses the best checkpoint.

    Raises UsageError for a metric that the evaluation does not give.
    """
    small = copy(evaluator)
    small.evaluators = [_smaller(one) for one in evaluator.evaluators]
    found = list(small(model))
    model.model_card_data.eval_results_dict.clear()  # the card shows the figures of whole evaluations
    model.model_card_data.training_logs.clear()
    if metric is None:
        return str(small.evaluators[0].primary_metric) if len(small.evaluators) == 1 else "sequential_score"
    if metric.removeprefix("eval_") not in {name.removeprefix("eval_") for name in found}:
        near = get_close_matches(metric, found, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(n for n in found if 'ndcg' in n)}."
        raise UsageError(f"training.metric_for_best_model: no evaluation gives {metric}.", hint)
    return metric


def texts_of(evaluator: Any) -> tuple[list[str], list[str]]:
    """Some queries and some documents of the first evaluator."""
    one = evaluator.evaluators[0]
    one = getattr(one, "evaluators", [one])[0]
    return list(one.queries[:ROWS_TRIED]), list(one.corpus[:ROWS_TRIED])


def _smaller(evaluator: Any) -> Any:
    """The same on ten queries and the documents that belong to them."""
    small = copy(evaluator)
    if hasattr(evaluator, "evaluators"):
        small.evaluators = [_smaller(one) for one in evaluator.evaluators]
        return small
    small.queries_ids = evaluator.queries_ids[:ROWS_TRIED]
    small.queries = evaluator.queries[:ROWS_TRIED]
    documents = dict(zip(evaluator.corpus_ids, evaluator.corpus, strict=True))
    wanted = dict.fromkeys(one for query in small.queries_ids for one in sorted(evaluator.relevant_docs[query]))
    small.corpus_ids = [one for one in wanted if one in documents]
    small.corpus = [documents[one] for one in small.corpus_ids]
    return small


def _retrieval(
    texts: Iterable[tuple[str, str, Iterable[str]]], name: str, batch_size: int
) -> SparseInformationRetrievalEvaluator:
    """Queries against all passages of the rows, right and wrong."""
    found = [(query, (positive, *negatives)) for query, positive, negatives in texts]
    documents = {text: str(index) for index, text in enumerate(dict.fromkeys(t for _, row in found for t in row))}
    queries = {text: str(index) for index, text in enumerate(dict.fromkeys(query for query, _ in found))}
    relevant: dict[str, set[str]] = {}
    for query, passages in found:
        relevant.setdefault(queries[query], set()).add(documents[passages[0]])
    return _evaluator(
        {v: k for k, v in queries.items()}, {v: k for k, v in documents.items()}, relevant, name, batch_size
    )


def _held_out(data: DataSet, rows: Dataset) -> Iterator[tuple[str, str, list[str]]]:
    columns = data.columns
    for row in rows.select_columns(list(dict.fromkeys((columns.query, columns.positive, *columns.negatives)))):
        lists = [row[name] if isinstance(row[name], list) else [row[name]] for name in columns.negatives]
        yield row[columns.query], row[columns.positive], [text for one in lists for text in one if text]


def _beir(folder: Path, batch_size: int) -> SparseInformationRetrievalEvaluator:
    try:
        data = read_beir(folder)
    except UsageError as error:
        raise UsageError(f"evaluation.beir: {error.message}", error.hint) from error
    relevant = {query: {key for key, grade in grades.items() if grade > 0} for query, grades in data.relevant.items()}
    return _evaluator(dict(data.judged), dict(data.documents), relevant, data.name, batch_size)


def _evaluator(
    queries: dict[str, str], corpus: dict[str, str], relevant: dict[str, set[str]], name: str, batch_size: int
) -> SparseInformationRetrievalEvaluator:
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    options = {"batch_size": batch_size, "name": name, "write_csv": False}
    return SparseInformationRetrievalEvaluator(queries, corpus, relevant, **options)
