"""Reads a folder laid out as BEIR does: corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from patcher.errors import UsageError, see
from patcher.verify.texts.lines import Line, read_lines
from patcher.verify.texts.rows import read_texts

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
SPLITS = ("test", "dev", "validation", "train")  # the first that the folder has is read

_ADVICE = 'Give each line as {"_id": "...", "text": "..."}.'
_FORM = "Give it as query-id, corpus-id and score with tabs between, or as TREC qrels with four fields." + see(
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
    relevant: Mapping[str, Mapping[str, int]]
    left_out: int

    @property
    def judged(self) -> Mapping[str, str]:
        """The queries that have a relevant document."""
        return {key: text for key, text in self.queries.items() if key in self.relevant}


def read_beir(folder: Path, split: str | None = None) -> Retrieval:
    """The corpus, the queries and the judgements of one split; the title of a document stands before its text.

    Raises UsageError, naming file and line, for what can't be read, for an id that stands twice, for grades that are
    not whole numbers, and for judgements of which none makes a document of the corpus relevant.
    """
    chosen = split or _split(folder)
    documents, queries = (
        read_texts(folder / name, _ADVICE, ("_id", "id"), allow_empty=True)  # some corpora hold empty documents
        for name in (CORPUS, QUERIES)
    )
    path = folder / QRELS / f"{chosen}.tsv"
    relevant: dict[str, dict[str, int]] = {}
    left_out = 0
    for line, query, document, grade in read_judgements(path):
        if query not in queries or document not in documents:
            left_out += 1
        else:
            relevant.setdefault(query, {})[document] = _grade(line, grade)
    found = {query: grades for query, grades in relevant.items() if any(grade > 0 for grade in grades.values())}
    if not found:
        raise UsageError(
            f"{path} makes no document of {CORPUS} relevant to a query of {QUERIES}.",
            "Check that the ids are those of the same data set, and that a score is above 0."
            + see("texts-and-judgements"),
        )
    return Retrieval(folder.resolve().name, chosen, documents, queries, found, left_out)


def _split(folder: Path) -> str:
    names = sorted(path.stem for path in (folder / QRELS).glob("*.tsv"))
    if not names:
        raise UsageError(
            f"{folder} has no {QRELS}/test.tsv.",
            f"Give a folder with {CORPUS} (_id, title, text), {QUERIES} (_id, text) and {QRELS}/test.tsv."
            + see("texts-and-judgements"),
        )
    return next((name for name in SPLITS if name in names), names[0])


def read_judgements(path: Path) -> Iterator[tuple[Line, str, str, str]]:
    """Each judgement of a file with three columns, or four as TREC has: ids of query and document, grade as written.

    Each comes with its line. Raises UsageError, naming file and line.
    """
    for line in read_lines(path, skip_empty=True, limited=False):
        fields = line.text.split("\t") if "\t" in line.text else line.text.split()
        if line.number == 1 and fields[0] == "query-id":
            continue
        if len(fields) not in {3, 4}:
            raise UsageError(f"{line.place}: {len(fields)} fields instead of 3.", _FORM)
        yield line, fields[0], fields[-2], fields[-1]


def _grade(line: Line, written: str) -> int:
    try:
        return int(float(written))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{line.place}: the relevance {written!r} is not a number.", "Use 0, 1 or a grade.") from error
