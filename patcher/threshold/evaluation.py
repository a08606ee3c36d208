"""The queries and documents that rankings are measured on: the bundled ones, a user's files, or a task of mteb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.codec import json_field
from patcher.errors import UsageError, see
from patcher.source.dataset_file import fetch_input
from patcher.verify.texts import load_all_questions, passages
from patcher.verify.texts.beir import CORPUS, QRELS, QUERIES, read_beir, read_grade, read_judgements
from patcher.verify.texts.lines import Line
from patcher.verify.texts.mteb_task import read_task
from patcher.verify.texts.rows import identifier, read_rows, read_texts

# What judgements call their columns, here and in the datasets of BEIR and mteb.
QUERY, DOCUMENT, GRADE = ("query", "query-id", "query_id"), ("document", "corpus-id", "doc_id"), ("relevance", "score")


@dataclass(frozen=True)
class Evaluation:
    """Queries and documents by id, and for each query the ids of the relevant documents (empty without judgements).

    `bundled`: the project's own questions. `left_out` counts judgements of texts that are not there. `graded`: some
    grades are above 1, and count as 1.
    """

    queries: Mapping[str, str] = json_field(write=len)
    documents: Mapping[str, str] = json_field(write=len)
    relevant: Mapping[str, tuple[str, ...]] = json_field(key="judged_queries", write=len)
    bundled: bool = json_field()
    left_out: int = 0
    graded: bool = False

    @property
    def expected(self) -> tuple[str, ...]:
        """The ids of the three questions whose right documents have to rank first by the brief, that is the first."""
        return tuple(self.queries)[:3] if self.bundled else ()

    @property
    def judged(self) -> bool:
        """Whether there are relevance judgements."""
        return bool(self.relevant)


def bundled_questions() -> Evaluation:
    """Every bundled question, the hard ones last, against all passages of all questions, near misses included."""
    questions = load_all_questions()
    queries = {question.id: question.query for question in questions}
    relevant = {question.id: (question.right,) for question in questions}
    return Evaluation(queries, passages(questions), relevant, bundled=True)


def load_evaluation(
    queries: str | Path | None,
    documents: str | Path | None,
    qrels: str | Path | None,
    beir: str | Path | None = None,
    task: str | None = None,
) -> Evaluation:
    """The user's files, BEIR folder or task of mteb where given, else the bundled questions.

    A folder, too, is local or a dataset on the Hub (`hf://datasets/namespace/name`), of which qrels/test.tsv is read.

    A file is local or `hf://datasets/namespace/name/path`. Queries and documents are .jsonl or .parquet with "id" (or
    "_id") and "text", and perhaps "title". Judgements are TREC qrels (`query iteration document relevance`), three
    columns as in BEIR, or .jsonl or .parquet with "query", "document" and, optionally, "relevance" (or "query-id",
    "corpus-id" and "score"). A relevance above 0 makes a document relevant. Queries without a relevant document are
    left out where others have one; judgements of texts that are not there are counted.

    Raises UsageError, naming file and line, for what can't be read or is empty, and what `fetch_input` and `read_task`
    raise.
    """
    options = {"--queries": queries, "--documents": documents, "--qrels": qrels}
    given = [option for option, path in options.items() if path is not None]
    if beir is not None or task is not None:
        whole = "--beir" if beir is not None else "--task"
        others = [*given, *(["--task"] if beir is not None and task is not None else [])]
        if others:
            raise UsageError(
                f"{whole} comes with its own texts; {others[0]} can't be added.", f"Leave out {others[0]}."
            )
        found = read_beir(_folder(str(beir)), fractions=True) if beir is not None else read_task(str(task))
        return _judged(found.queries, found.documents, found.relevant, found.left_out)
    if not given:
        return bundled_questions()
    if queries is None or documents is None:
        raise UsageError(
            f"{given[0]} alone can't be ranked.", "Pass --queries and --documents together; --qrels may be added."
        )
    advice = 'Write each line as {"id": "...", "text": "..."}.'
    asked, texts = (read_texts(fetch_input(str(path)), advice) for path in (queries, documents))
    if qrels is None:
        return Evaluation(asked, texts, {}, bundled=False)
    return _judged(asked, texts, *_judgements(fetch_input(str(qrels)), asked, texts))


def _folder(spec: str) -> Path:
    """A local folder as given, or that in the cache which holds the files of a dataset in BEIR's layout."""
    if not spec.startswith("hf://"):
        return Path(spec)
    corpus, *_ = [fetch_input(f"{spec.rstrip('/')}/{name}") for name in (CORPUS, QUERIES, f"{QRELS}/test.tsv")]
    return corpus.parent


def _judged(
    queries: Mapping[str, str], documents: Mapping[str, str], grades: Mapping[str, Mapping[str, float]], left_out: int
) -> Evaluation:
    positive = {query: tuple(key for key, grade in found.items() if grade > 0) for query, found in grades.items()}
    relevant = {query: found for query, found in positive.items() if found}
    asked = {query: text for query, text in queries.items() if query in relevant}
    graded = any(grade > 1 for found in grades.values() for grade in found.values())
    return Evaluation(asked, documents, relevant, bundled=False, left_out=left_out, graded=graded)


def _judgements(
    path: Path, queries: Mapping[str, str], documents: Mapping[str, str]
) -> tuple[dict[str, dict[str, float]], int]:
    """The grades of the documents of each query, and how many judgements are of texts that are not there."""
    grades: dict[str, dict[str, float]] = {}
    left_out = 0
    for line, query, document, written in _read_judgements(path):
        grade = read_grade(line, written)
        if query in queries and document in documents:
            grades.setdefault(query, {})[document] = grade
        else:
            left_out += 1
    if not any(grade > 0 for found in grades.values() for grade in found.values()):
        raise UsageError(
            f"{path} marks none of the documents as relevant; {left_out:,} of its judgements are for other texts.",
            "Write at least one line with a relevance above 0, with the ids of --queries and --documents."
            + see("texts-and-judgements"),
        )
    return grades, left_out


def _read_judgements(path: Path) -> Iterator[tuple[Line, str, str, Any]]:
    """Each judgement with its line: the ids of query and document, and the grade as given."""
    if path.suffix.lower() not in {".jsonl", ".parquet"}:
        yield from read_judgements(path)
        return
    advice = 'Write each line as {"query": "...", "document": "...", "relevance": 1}.'
    for line, record in read_rows(path, advice):
        query, document = (identifier(line, record, names) for names in (QUERY, DOCUMENT))
        yield line, query, document, next((record[name] for name in GRADE if name in record), 1)
