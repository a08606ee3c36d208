"""Measures a model on retrieval tasks with mteb: its tasks from the Hub, NanoBEIR, BEIR folders, the bundled questions.

https://embeddings-benchmark.github.io/mteb/
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from patcher.codec import json_text, read_json
from patcher.patching.staging import write_atomically
from patcher.planning.files import fingerprint
from patcher.retrieval.encoder import Settings, encode
from patcher.retrieval.model import Runnable
from patcher.retrieval.vectors import Vectors, joined
from patcher.verify.costs import Costs, Counts, costs, count
from patcher.verify.texts import load_all_questions, passages
from patcher.verify.texts.beir import Retrieval, read_beir
from patcher.verify.texts.mteb_task import check_packages, document_text, find_task, loading

if TYPE_CHECKING:
    from mteb import AbsTask
    from mteb.models import ModelMeta
    from scipy.sparse import csr_array

NORWEGIAN = ("NorQuadRetrieval", "SNLRetrieval")
NANOBEIR = "NanoBEIR"
BM25 = "mteb/baseline-bm25s"
SCORED = 4096  # documents that are scored together: 4 bytes for each of them and each query
NEEDED = {"mteb": "mteb", "bm25s": "bm25s", "Stemmer": "PyStemmer"}


@dataclass(frozen=True)
class Tasks:
    """What to measure on: names of mteb tasks, the NanoBEIR benchmark, BEIR folders, the bundled questions.

    The Norwegian retrieval tasks of mteb if nothing is named. `language`, an ISO 639-3 code, is that of the folders:
    BM25 stems by it.
    """

    names: tuple[str, ...] = ()
    nanobeir: bool = False
    folders: tuple[Path, ...] = ()
    bundled: bool = False
    language: str = "nob"


@dataclass(frozen=True)
class Figures:
    """What the vectors of a task cost, means over its texts. See `verify.costs`."""

    query_active_dims: float
    document_active_dims: float
    flops: float
    postings_per_query: float


@dataclass(frozen=True)
class Row:
    """How a model did in a task: means over its subsets and splits. BM25 has no vectors, and so no costs."""

    task: str
    model: str
    ndcg_at_10: float
    mrr_at_10: float
    recall_at_100: float
    costs: Figures | None


@dataclass(frozen=True)
class Evaluated:
    """A row for each task and model, the folder with the results as mteb writes them, and notes about the data."""

    rows: tuple[Row, ...]
    results: Path
    notes: tuple[str, ...]


def evaluate(
    models: Mapping[str, Runnable],
    tasks: Tasks,
    settings: Settings,
    out: Path,
    *,
    bm25: bool,
    progress: Callable[[str, str], None] = lambda task, model: None,
) -> Evaluated:
    """Measure each of `models`, by the name to show, and BM25. Results of the same model that `out` holds are kept.

    Executes the models' code, in a sandbox. Raises MissingRequirement without a package, UsageError for an unknown
    task, SourceError if a dataset can't be loaded, and what `encode` raises.
    """
    check_packages(NEEDED)
    import mteb

    found, notes = _find_tasks(tasks)
    cache, rows = mteb.ResultCache(out), []
    searchers: dict[str, Any] = {name: Searcher(name, model, settings) for name, model in models.items()}
    if bm25:
        searchers["BM25"] = mteb.get_model(BM25)
    for task in found:
        for name, searcher in searchers.items():
            progress(task.metadata.name, name)
            rows.append(_row(cache, task, name, searcher))
        if task.data_loaded:
            task.unload_data()
    return Evaluated(tuple(rows), out / "results", tuple(notes))


class Searcher:
    """A model as mteb's SearchProtocol: the documents that score highest by the exact dot product.

    Encodes in a sandboxed child process; the memory does not grow with the number of documents. `costs` are those of
    the searches since it was emptied.
    """

    def __init__(self, name: str, model: Runnable, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._corpus: Any = None
        self.costs: list[tuple[Costs, Costs]] = []
        self.mteb_model_meta = _meta(name, model)

    def index(self, corpus: Any, **_: Any) -> None:
        """Remember the documents: rows with an id, a text and perhaps a title."""
        self._corpus = corpus

    def search(self, queries: Any, *, top_k: int, **_: Any) -> dict[str, dict[str, float]]:
        """The scores of the best `top_k` documents of each query that share a dimension with it, by id."""
        best = _Best(queries["id"], self._corpus["id"], top_k)
        texts = {"query": queries["text"], "document": map(document_text, self._corpus)}
        encode(self._model, texts, self._settings, lambda kind, _, vectors: best.add(kind, vectors))
        best.score()
        self.costs.append((costs(best.counts["query"]), costs(best.counts["document"], best.counts["query"])))
        return best.found()


class _Best:
    """Collects the vectors of queries, then scores documents and keeps the best of them."""

    def __init__(self, queries: Sequence[str], documents: Sequence[str], top: int) -> None:
        self._query_ids, self._document_ids, self._top = queries, documents, top
        self._waiting: dict[str, list[Vectors]] = {"query": [], "document": []}
        self._queries: csr_array | None = None
        self._seen = 0
        self._scores = np.zeros((len(queries), 0), dtype=np.float32)
        self._rows = np.zeros((len(queries), 0), dtype=np.int64)
        self.counts: dict[str, Counts] = {}

    def add(self, kind: str, vectors: Vectors) -> None:
        """Take a window of vectors: those of all queries come before the first of documents."""
        self.counts[kind] = self.counts[kind] + count(vectors) if kind in self.counts else count(vectors)
        self._waiting[kind].append(vectors)
        if kind == "document" and sum(map(len, self._waiting[kind])) >= SCORED:
            self.score()

    def score(self) -> None:
        """Score the documents that wait."""
        if self._queries is None:
            self._queries = _matrix(joined(self._waiting["query"]))
        if not self._waiting["document"]:
            return
        documents = _matrix(joined(self._waiting["document"]))
        self._waiting["document"] = []
        scores = (self._queries @ documents.T).toarray()
        rows = np.broadcast_to(np.arange(self._seen, self._seen + documents.shape[0]), scores.shape)
        self._seen += documents.shape[0]
        self._scores = np.concatenate([self._scores, scores], axis=1)
        self._rows = np.concatenate([self._rows, rows], axis=1)
        if self._scores.shape[1] > self._top:
            kept = np.argpartition(-self._scores, self._top - 1, axis=1)[:, : self._top]
            self._scores = np.take_along_axis(self._scores, kept, axis=1)
            self._rows = np.take_along_axis(self._rows, kept, axis=1)

    def found(self) -> dict[str, dict[str, float]]:
        """The best documents of each query."""
        return {
            query: {self._document_ids[row]: float(score) for row, score in zip(rows, scores, strict=True) if score > 0}
            for query, rows, scores in zip(self._query_ids, self._rows.tolist(), self._scores, strict=True)
        }


def _matrix(vectors: Vectors) -> csr_array:
    from scipy.sparse import csr_array

    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(vectors.counts, dtype=np.int64)])
    return csr_array((vectors.values, vectors.indices, ends), shape=(len(vectors), vectors.width))


def _meta(name: str, model: Runnable) -> ModelMeta:
    """What mteb files results under: the name, and the commit or the hash of the files."""
    from mteb.models import ModelMeta

    revision = model.snapshot.source.revision or fingerprint(model.snapshot)[:40]
    return ModelMeta.create_empty({"name": name, "revision": revision})


def _row(cache: Any, task: AbsTask, name: str, searcher: Any) -> Row:
    import mteb

    is_model = isinstance(searcher, Searcher)
    if is_model:
        searcher.costs.clear()
    with loading(task.metadata.name):
        results = mteb.evaluate(searcher, task, cache=cache, co2_tracker=False, show_progress_bar=False)
    scores = [one for split in results.task_results[0].scores.values() for one in split]
    ndcg, mrr, recall = (
        round(statistics.fmean(one[key] for one in scores), 5) for key in ("ndcg_at_10", "mrr_at_10", "recall_at_100")
    )
    return Row(task.metadata.name, name, ndcg, mrr, recall, _costs(cache, task, searcher) if is_model else None)


def _costs(cache: Any, task: AbsTask, searcher: Searcher) -> Figures | None:
    """The costs of this search, which are kept beside the results, or those of the search that made the results."""
    result = cache.get_task_result_path(task.metadata.name, searcher.mteb_model_meta)
    path = cache.cache_path / "costs" / result.relative_to(cache.cache_path / "results")
    if searcher.costs:
        pairs = searcher.costs
        found = Figures(
            query_active_dims=statistics.fmean(queries.active_dims for queries, _ in pairs),
            document_active_dims=statistics.fmean(documents.active_dims for _, documents in pairs),
            flops=statistics.fmean(documents.flops or 0.0 for _, documents in pairs),
            postings_per_query=statistics.fmean(documents.postings_per_query or 0.0 for _, documents in pairs),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json_text(asdict(found)))
        return found
    return read_json(Figures, path.read_text("utf-8")) if path.is_file() else None


def _find_tasks(wanted: Tasks) -> tuple[list[AbsTask], list[str]]:
    """The tasks, and notes about what a folder leaves out."""
    import mteb

    sets = [read_beir(folder) for folder in wanted.folders]
    notes = [
        f"{one.name}: {one.left_out:,} judgements of texts that are not in the folder were left out."
        for one in sets
        if one.left_out
    ]
    local = [*sets, *([bundled()] if wanted.bundled else [])]
    names = wanted.names or (() if local or wanted.nanobeir else NORWEGIAN)
    found = [find_task(name) for name in names]
    if wanted.nanobeir:
        found += list(mteb.get_benchmark(NANOBEIR).tasks)
    return [*found, *(_local(one, wanted.language) for one in local)], notes


def bundled() -> Retrieval:
    """Every bundled question against the passages of all questions."""
    questions = load_all_questions()
    queries = {one.id: one.query for one in questions}
    relevant = {one.id: {one.right: 1} for one in questions}
    return Retrieval("BundledQuestions", "test", passages(questions), queries, relevant, 0)


def _local(data: Retrieval, language: str) -> AbsTask:
    """The data as an mteb task."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    def rows(texts: Mapping[str, str]) -> Dataset:
        return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})

    class Local(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = TaskMetadata(
            name=data.name,
            description=f"{len(data.judged):,} judged queries over {len(data.documents):,} documents.",
            dataset={"path": data.name, "revision": _hash(data)},
            type="Retrieval",
            category="t2t",
            eval_splits=[data.split],
            eval_langs=[f"{language}-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_: Any) -> None:
            found = {
                "corpus": rows(data.documents),
                "queries": rows(data.judged),
                "relevant_docs": {query: dict(grades) for query, grades in data.relevant.items()},
                "top_ranked": None,
            }
            self.dataset = {"default": {data.split: found}}
            self.data_loaded = True

    return Local()


def _hash(data: Retrieval) -> str:
    """What tells one state of the data from another: mteb keeps results by it."""
    return hashlib.sha256(json_text(asdict(data)).encode()).hexdigest()[:40]
