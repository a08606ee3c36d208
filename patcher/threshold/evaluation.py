"""The questions and passages that rankings are measured on: the bundled ones, or the user's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.errors import UsageError
from patcher.verify.texts import load_questions

# 4 bytes for each dimension of each text are held in memory: 4 GB at NorBERT4's vocabulary.
MAX_TEXTS = 20_000


@dataclass(frozen=True)
class Evaluation:
    """Queries and documents by id, and for each query the ids of the relevant documents (empty without judgements).

    `bundled` are the project's own questions, on which every right document has to rank first.
    """

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevant: Mapping[str, tuple[str, ...]]
    bundled: bool

    @property
    def judged(self) -> bool:
        """Whether there are relevance judgements."""
        return bool(self.relevant)

    def as_json(self) -> dict[str, Any]:
        """How many texts and judged queries there are; the texts themselves are left out."""
        return {
            "bundled": self.bundled,
            "queries": len(self.queries),
            "documents": len(self.documents),
            "judged_queries": len(self.relevant),
        }


def bundled_questions() -> Evaluation:
    """Every bundled question against all passages of all questions, its own near misses among them.

    Ids are made so that a right document sorts behind its near misses: a tie between them never helps it.
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    relevant: dict[str, tuple[str, ...]] = {}
    for question in load_questions():
        right = f"{question.id}/right"
        queries[question.id] = question.query
        documents |= {f"{question.id}/near-{i}": text for i, text in enumerate(question.negatives, 1)}
        documents[right] = question.positive
        relevant[question.id] = (right,)
    return Evaluation(queries, documents, relevant, bundled=True)


def load_evaluation(queries: Path | None, documents: Path | None, qrels: Path | None) -> Evaluation:
    """The user's files where given, else the bundled questions.

    Queries and documents are `.jsonl` files with an "id" and a "text" in each line. Relevance judgements are lines of
    TREC qrels (`query iteration document relevance`) or, in a `.jsonl` file, objects with "query", "document" and, if
    wanted, "relevance"; a relevance above 0 makes a document relevant.

    Raises UsageError, naming file and line, for whatever can't be read, has no match, or is empty.
    """
    if queries is None and documents is None and qrels is None:
        return bundled_questions()
    if queries is None or documents is None:
        given = (
            "--qrels" if queries is None and documents is None else "--documents" if queries is None else "--queries"
        )
        raise UsageError(
            f"{given} alone can't be ranked.", "Give --queries and --documents together; --qrels may be added."
        )
    found = Evaluation(_texts(queries), _texts(documents), {}, bundled=False)
    if len(found.queries) + len(found.documents) > MAX_TEXTS:
        raise UsageError(
            f"{len(found.queries) + len(found.documents):,} texts are too many to hold: capped vectors have no zeros.",
            f"Give a sample of at most {MAX_TEXTS:,} queries and documents together.",
        )
    if qrels is None:
        return found
    return Evaluation(found.queries, found.documents, _judgements(qrels, found), bundled=False)


def _texts(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for place, line in _lines(path):
        record = _object(place, line, '{"id": "...", "text": "..."}')
        key, text = _id(place, record, "id"), record.get("text")
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f'{place}: "text" is missing or empty.', 'Give each line an "id" and a "text".')
        if key in texts:
            raise UsageError(f"{place}: the id {key!r} stands twice in this file.", "Give each text an id of its own.")
        texts[key] = text
    return texts


def _judgements(path: Path, found: Evaluation) -> dict[str, tuple[str, ...]]:
    relevant: dict[str, dict[str, None]] = {}
    for place, line in _lines(path):
        query, document, relevance = _judgement(path, place, line)
        for kind, key, known in (("query", query, found.queries), ("document", document, found.documents)):
            if key not in known:
                raise UsageError(
                    f"{place}: there is no {kind} with the id {key!r}.",
                    "Use the ids of --queries and --documents; leave out judgements of other texts.",
                )
        if relevance > 0:
            relevant.setdefault(query, {})[document] = None
    if not relevant:
        raise UsageError(f"{path} judges no document relevant.", "Give at least one line with a relevance above 0.")
    return {query: tuple(documents) for query, documents in relevant.items()}


def _judgement(path: Path, place: str, line: str) -> tuple[str, str, float]:
    if path.suffix.lower() == ".jsonl":
        record = _object(place, line, '{"query": "...", "document": "...", "relevance": 1}')
        relevance: Any = record.get("relevance", 1)
        fields = [_id(place, record, "query"), _id(place, record, "document")]
    else:
        parts = line.split()
        if len(parts) != 4:
            raise UsageError(
                f"{place}: {len(parts)} fields instead of 4.",
                "Give TREC qrels, `query 0 document relevance` in each line, or name the file .jsonl.",
            )
        relevance, fields = parts[3], [parts[0], parts[2]]
    try:
        return fields[0], fields[1], float(relevance)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{place}: the relevance {relevance!r} is not a number.", "Use 0, 1 or a grade.") from error


def _lines(path: Path) -> list[tuple[str, str]]:
    """The lines that aren't empty, each with the place that an error names."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.", "Save the file as UTF-8 and try again.") from error
    # splitlines() would also split at U+2028 inside a text.
    lines = [(f"{path}:{number}", line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{path} is empty.", "Give at least one line.")
    return lines


def _object(place: str, line: str, example: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{place}: is not JSON ({error}).", f"Give each line as {example}.") from error
    if not isinstance(record, dict):
        raise UsageError(f"{place}: is not a JSON object.", f"Give each line as {example}.")
    return record


def _id(place: str, record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise UsageError(f'{place}: "{key}" is missing or is no id.', "Give each line an id: a text or a number.")
    return str(value)
