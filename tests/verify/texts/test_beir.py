"""A folder as BEIR lays it out is read as it is; what is wrong in it is named with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.verify.texts.beir import read_beir

FILES = {
    "corpus.jsonl": '{"_id": "d1", "title": "Oslo", "text": "Hovedstaden."}\n{"_id": "d2", "text": "Fjord."}\n'
    '{"_id": "d3", "title": "Bare tittel", "text": ""}\n',
    "queries.jsonl": '{"_id": "q1", "text": "Hva?", "metadata": {}}\n{"_id": "q2", "text": "Hvor?"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\tgone\t1\nq9\td1\t1\n",
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq2\td2\t1\n",
}


def written(folder: Path, files: Mapping[str, str]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
    return folder


def test_documents_queries_and_graded_judgements_are_read(tmp_path: Path) -> None:
    found = read_beir(written(tmp_path / "set", FILES))
    assert (found.name, found.split) == ("set", "test")
    assert found.documents == {"d1": "Oslo Hovedstaden.", "d2": "Fjord.", "d3": "Bare tittel"}
    assert found.relevant == {"q1": {"d1": 2, "d2": 0}}, "grades are kept"
    assert found.judged == {"q1": "Hva?"}
    assert found.left_out == 2, "judgements of texts that the folder does not hold, as in a sample"


def test_another_split_is_read_when_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path / "set", FILES)
    assert read_beir(folder, "train").relevant == {"q2": {"d2": 1}}


def test_trec_judgements_are_read(tmp_path: Path) -> None:
    assert read_beir(written(tmp_path / "set", {**FILES, "qrels/test.tsv": "q1 0 d1 1\n"})).relevant == {
        "q1": {"d1": 1}
    }


@pytest.mark.parametrize(
    "content",
    [
        "query_id\tdoc_id\trelevance\nq1\td1\t2\n",
        "qid\tcorpus-id\tscore\r\nq1\td1\t2\r\n",
        "\ufeffquery-id\tcorpus-id\tscore\nq1\td1\t2\n",
        "\n\nquery-id\tcorpus-id\tscore\n\nq1 \t d1\t 2\n\n",
        "q1\t0\td1\t2\n",
        "q1  Q0  d1  2.0",
    ],
    ids=["underscores", "CRLF", "byte order mark", "empty lines", "TREC with tabs", "TREC with spaces"],
)
def test_judgements_come_in_many_spellings(tmp_path: Path, content: str) -> None:
    folder = written(tmp_path / "set", FILES)
    (folder / "qrels" / "test.tsv").write_text(content, "utf-8", newline="")
    assert read_beir(folder).relevant == {"q1": {"d1": 2}}


def test_a_query_that_is_called_like_a_header_is_none(tmp_path: Path) -> None:
    files = {**FILES, "queries.jsonl": '{"_id": "query", "text": "Hva?"}\n', "qrels/test.tsv": "query\td1\t1\n"}
    assert read_beir(written(tmp_path / "set", files)).relevant == {"query": {"d1": 1}}


def test_fractions_are_grades_only_where_metrics_take_them(tmp_path: Path) -> None:
    folder = written(tmp_path / "set", {**FILES, "qrels/test.tsv": "q1\td1\t0.5\nq1\td2\t1.0\n"})
    with pytest.raises(UsageError, match=r"test.tsv:1: the relevance '0\.5' is not a whole number"):
        read_beir(folder)
    assert read_beir(folder, fractions=True).relevant == {"q1": {"d1": 0.5, "d2": 1}}


@pytest.mark.parametrize("empty", ["null", '""', '" "'])
def test_texts_and_titles_may_be_empty_in_any_form(tmp_path: Path, empty: str) -> None:
    lines = f'{{"_id": 1, "title": {empty}, "text": "Fjord."}}\r\n{{"_id": "d1", "title": "Oslo", "text": {empty}}}\n'
    found = read_beir(written(tmp_path / "set", {**FILES, "corpus.jsonl": lines}))
    assert found.documents == {"1": "Fjord.", "d1": "Oslo"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("corpus.jsonl", '{"_id": "a"}\n', 'corpus.jsonl:1: "text" is missing'),
        ("corpus.jsonl", '{"text": "x"}\n', r"corpus.jsonl:1: \"_id\" is missing"),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n',
            "corpus.jsonl:2: the id 'a' appears twice",
        ),
        ("queries.jsonl", "no json\n", "queries.jsonl:1: is not JSON"),
        ("qrels/test.tsv", "q1\td1\n", "test.tsv:1: 2 fields instead of 3"),
        ("qrels/test.tsv", "q1\td1\tmuch\n", "test.tsv:1: the relevance 'much' is not a number"),
        ("qrels/test.tsv", "q1\td1\tnan\n", "test.tsv:1: the relevance 'nan' is not a number"),
        ("qrels/test.tsv", "q1\td1\tinf\n", "test.tsv:1: the relevance 'inf' is not a number"),
        ("qrels/test.tsv", "q1\td1\t0\n", "makes no document of corpus.jsonl relevant"),
        ("qrels/test.tsv", "q8\td8\t1\n", "makes no document of corpus.jsonl relevant"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_beir(written(tmp_path / "set", {**FILES, name: content}))


def test_a_folder_without_judgements_is_told_its_form(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no qrels/test\.tsv"):
        read_beir(tmp_path)
