"""Reads a folder laid out as BEIR does: corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from patcher.errors import UsageError, see
from patcher.verify.texts.lines import Line, read_lines
from patcher.verify.texts.rows import read_texts

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
SPLITS = ("test", "dev", "validation", "train")  # the first that the folder has is read
_HEADERS = {"query-id", "query_id", "query", "qid"}  # what the first column is called where a header names it
_ADVICE = 'Write each line as {"_id": "...", "text": "..."}.'
_FORM = "Write query-id, corpus-id and score, separated by tabs, or TREC qrels with four fields." + see(
    "texts-and-judgements"
)


@dataclass(frozen=True)
class Retrieval:
    """Documents and queries by id, and for each judged query the grades of its documents, which are all there.

    `left_out` counts judgements of queries or documents that the folder does not hold, as a sample of a corpus has.
    """

    name: str
    split: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    relevant: Mapping[str, Mapping[str, float]]
    left_out: int

    @property
    def judged(self) -> Mapping[str, str]:
        """The queries that have a relevant document."""
        return {key: text for key, text in self.queries.items() if key in self.relevant}


def read_beir(folder: Path, split: str | None = None, *, fractions: bool = False) -> Retrieval:
    """The corpus, the queries and the judgements of one split; the title of a document stands before its text.

    Raises UsageError, naming file and line, for what can't be read, for an id that stands twice, for grades that are
    not whole numbers (unless `fractions` are allowed: mteb's metrics have none), and for judgements of which none makes
    a document of the corpus relevant.
    """
    chosen = split or _split(folder)
    documents, queries = (
        read_texts(folder / name, _ADVICE, ("_id", "id"), allow_empty=True)  # some corpora hold empty documents
        for name in (CORPUS, QUERIES)
    )
    path = folder / QRELS / f"{chosen}.tsv"
    relevant: dict[str, dict[str, float]] = {}
    left_out = 0
    for line, query, document, written in read_judgements(path):
        grade = read_grade(line, written)
        if not (fractions or grade.is_integer()):
            why = f"{line.place}: the relevance {written!r} is not a whole number."
            raise UsageError(why, "Multiply all of them until they are whole, or round them.")
        if query not in queries or document not in documents:
            left_out += 1
        else:
            relevant.setdefault(query, {})[document] = int(grade) if grade.is_integer() else grade
    found = {query: grades for query, grades in relevant.items() if any(grade > 0 for grade in grades.values())}
    if not found:
        raise UsageError(
            f"{path} makes no document of {CORPUS} relevant to a query of {QUERIES}.",
            "Check that the ids are from the same dataset, and that a score is above 0." + see("texts-and-judgements"),
        )
    return Retrieval(folder.resolve().name, chosen, documents, queries, found, left_out)


def _split(folder: Path) -> str:
    names = sorted(path.stem for path in (folder / QRELS).glob("*.tsv"))
    if not names:
        raise UsageError(
            f"{folder} has no {QRELS}/test.tsv.",
            f"Pass a folder with {CORPUS} (_id, title, text), {QUERIES} (_id, text) and {QRELS}/test.tsv."
            + see("texts-and-judgements"),
        )
    return next((name for name in SPLITS if name in names), names[0])


def read_judgements(path: Path) -> Iterator[tuple[Line, str, str, str]]:
    """Each judgement of a file with three columns, or four as TREC has: ids of query and document, grade as written.

    Each comes with its line. Raises UsageError, naming file and line.
    """
    for number, line in enumerate(read_lines(path, skip_empty=True, limited=False)):
        fields = [field.strip() for field in line.text.split("\t" if "\t" in line.text else None)]
        if number == 0 and fields[0].lower() in _HEADERS and not fields[-1].isdigit():
            continue
        if len(fields) not in {3, 4}:
            raise UsageError(f"{line.place}: {len(fields)} fields instead of 3.", _FORM)
        yield line, fields[0], fields[-2], fields[-1]


def read_grade(line: Line, written: object) -> float:
    """A grade as a finite number. Raises UsageError, naming file and line."""
    with suppress(TypeError, ValueError):
        grade = float(written)  # type: ignore[arg-type] # a TypeError says so
        if math.isfinite(grade) and not isinstance(written, bool):
            return grade
    raise UsageError(f"{line.place}: the relevance {written!r} is not a number.", "Use 0, 1 or a grade.")
