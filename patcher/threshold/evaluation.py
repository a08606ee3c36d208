"""The queries and documents that rankings are measured on: the bundled ones, or the user's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.codec import json_field
from patcher.errors import UsageError
from patcher.verify.texts import load_questions
from patcher.verify.texts.lines import Line, read_lines, read_objects, string

# Every dimension of every text takes 4 bytes of memory: 4 GB at NorBERT4's vocabulary.
MAX_TEXTS = 20_000


@dataclass(frozen=True)
class Evaluation:
    """Queries and documents by id, and for each query the ids of the relevant documents (empty without judgements).

    `bundled`: the project's own questions, for which every relevant document has to rank first.
    """

    queries: Mapping[str, str] = json_field(write=len)
    documents: Mapping[str, str] = json_field(write=len)
    relevant: Mapping[str, tuple[str, ...]] = json_field(key="judged_queries", write=len)
    bundled: bool = json_field()

    @property
    def expected(self) -> tuple[str, ...]:
        """The ids of the three questions whose right documents have to rank first by the brief, that is the first."""
        return tuple(self.queries)[:3] if self.bundled else ()

    @property
    def judged(self) -> bool:
        """Whether there are relevance judgements."""
        return bool(self.relevant)


def bundled_questions() -> Evaluation:
    """Every bundled question against all passages of all questions, its own near misses among them.

    Ids are chosen so that a relevant document sorts behind its near misses: a tie between them never helps it.
    """
    questions, documents = load_questions(), dict[str, str]()
    for question in questions:
        documents |= {f"{question.id}/near-{i}": text for i, text in enumerate(question.negatives, 1)}
        documents[f"{question.id}/right"] = question.positive
    queries = {question.id: question.query for question in questions}
    return Evaluation(queries, documents, {key: (f"{key}/right",) for key in queries}, bundled=True)


def load_evaluation(queries: Path | None, documents: Path | None, qrels: Path | None) -> Evaluation:
    """The user's files where given, else the bundled questions.

    Queries and documents are `.jsonl` files with an "id" and a "text" in each line. Relevance judgements are lines of
    TREC qrels (`query iteration document relevance`) or, in a `.jsonl` file, objects with "query", "document" and,
    optionally, "relevance"; a relevance above 0 makes a document relevant.

    Raises UsageError, naming file and line, for files that can't be read or are empty and for unknown ids.
    """
    options = {"--queries": queries, "--documents": documents, "--qrels": qrels}
    given = [option for option, path in options.items() if path is not None]
    if not given:
        return bundled_questions()
    if queries is None or documents is None:
        raise UsageError(
            f"{given[0]} alone can't be ranked.", "Give --queries and --documents together; --qrels may be added."
        )
    found = Evaluation(_texts(queries), _texts(documents), {}, bundled=False)
    count = len(found.queries) + len(found.documents)
    if count > MAX_TEXTS:
        raise UsageError(
            f"{count:,} texts are too many: capped vectors have no zeros.",
            f"Give a sample of at most {MAX_TEXTS:,} queries and documents together.",
        )
    return found if qrels is None else replace(found, relevant=_judgements(qrels, found))


def _texts(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line, record in read_objects(path, 'Give each line as {"id": "...", "text": "..."}.', skip_empty=True):
        key = _id(line, record, "id")
        if key in texts:
            raise UsageError(f"{line.place}: the id {key!r} stands twice in this file.", "Give each text its own id.")
        texts[key] = string(line, record, "text")
    return texts


def _judgements(path: Path, found: Evaluation) -> dict[str, tuple[str, ...]]:
    relevant: dict[str, dict[str, None]] = {}
    for line, query, document, grade in _read_judgements(path):
        for kind, key, known in (("query", query, found.queries), ("document", document, found.documents)):
            if key not in known:
                raise UsageError(
                    f"{line.place}: there is no {kind} with the id {key!r}.",
                    "Use the ids of --queries and --documents; leave out judgements of other texts.",
                )
        try:
            is_relevant = float(grade) > 0
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{line.place}: the relevance {grade!r} is not a number.", "Use 0, 1 or a grade."
            ) from error
        if is_relevant:
            relevant.setdefault(query, {})[document] = None
    if not relevant:
        raise UsageError(f"{path} judges no document relevant.", "Give at least one line with a relevance above 0.")
    return {query: tuple(documents) for query, documents in relevant.items()}


def _read_judgements(path: Path) -> Iterator[tuple[Line, str, str, Any]]:
    """Each judgement with its line: the ids of query and document, and the grade as given."""
    if path.suffix.lower() == ".jsonl":
        advice = 'Give each line as {"query": "...", "document": "...", "relevance": 1}.'
        for line, record in read_objects(path, advice, skip_empty=True):
            yield line, _id(line, record, "query"), _id(line, record, "document"), record.get("relevance", 1)
        return
    for line in read_lines(path, skip_empty=True):
        fields = line.text.split()
        if len(fields) != 4:
            raise UsageError(
                f"{line.place}: {len(fields)} fields instead of 4.",
                "Give TREC qrels, `query 0 document relevance` in each line, or name the file .jsonl.",
            )
        yield line, fields[0], fields[2], fields[3]


def _id(line: Line, record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise UsageError(f'{line.place}: "{key}" is missing or is not an id.', "Give each line an id: text or number.")
    return str(value)
