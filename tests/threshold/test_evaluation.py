"""The questions that rankings are measured on, and every way in which a user's files can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.threshold import evaluation
from patcher.threshold.evaluation import bundled_questions, load_evaluation
from patcher.verify.texts.beir import read_beir
from tests.verify.texts.test_beir import FILES, written

QUERIES = '{"id": "q1", "text": "Hvem?"}\n{"id": 2, "text": "Hva?"}\n'
DOCUMENTS = '{"id": "d1", "text": "Kari."}\n\n{"id": "d2", "text": "Ei\u2028bok."}\r\n'


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    paths = tmp_path / "queries.jsonl", tmp_path / "documents.jsonl", tmp_path / "qrels.txt"
    for path, text in zip(paths, (QUERIES, DOCUMENTS, "q1 0 d1 1\n2 0 d2 2\nq1 0 d2 0\n"), strict=True):
        path.write_text(text, encoding="utf-8", newline="")
    return paths


def test_every_bundled_question_meets_the_passages_of_all_questions() -> None:
    found = bundled_questions()
    assert len(found.queries) >= 40
    assert len(found.documents) >= 4 * len(found.queries)
    assert found.queries[next(iter(found.queries))] == "Hva er hovedstaden i Norge?"
    assert all(found.documents[right] for (right,) in found.relevant.values())
    assert len(found.expected) == 3 and found.expected[0] == next(iter(found.queries))


def test_a_right_document_sorts_behind_its_near_misses_so_that_no_tie_helps_it() -> None:
    found = bundled_questions()
    for query, (right,) in found.relevant.items():
        assert right == max(key for key in found.documents if key.startswith(f"{query}/"))


def test_files_of_a_user_are_read_with_trec_judgements(files: tuple[Path, Path, Path]) -> None:
    found = load_evaluation(*files)
    assert found.queries == {"q1": "Hvem?", "2": "Hva?"}
    assert found.documents == {"d1": "Kari.", "d2": "Ei\u2028bok."}
    assert found.relevant == {"q1": ("d1",), "2": ("d2",)}
    assert not found.bundled


def test_judgements_may_be_jsonl_and_a_missing_relevance_means_relevant(files: tuple[Path, Path, Path]) -> None:
    qrels = files[2].with_suffix(".jsonl")
    qrels.write_text('{"query": "q1", "document": "d1"}\n{"query": "q1", "document": "d2", "relevance": 0}\n')
    assert load_evaluation(files[0], files[1], qrels).relevant == {"q1": ("d1",)}


@pytest.mark.parametrize(("grade", "graded"), [(1, False), (2, True)])
def test_grades_above_1_count_as_1_and_that_is_known(
    files: tuple[Path, Path, Path], tmp_path: Path, grade: int, graded: bool
) -> None:
    files[2].write_text(f"q1 0 d1 {grade}\n2 0 d2 1\n")
    rows = {**FILES, "qrels/test.tsv": f"query-id\tcorpus-id\tscore\nq1\td1\t{grade}\n"}
    for found in (load_evaluation(*files), load_evaluation(None, None, None, written(tmp_path / "set", rows))):
        assert found.graded is graded and found.relevant["q1"] == ("d1",)
    assert not bundled_questions().graded


def test_rankings_can_be_compared_without_judgements(files: tuple[Path, Path, Path]) -> None:
    assert not load_evaluation(files[0], files[1], None).judged


@pytest.mark.parametrize("missing", [(0,), (1,), (0, 1)])
def test_queries_and_documents_go_together(files: tuple[Path, Path, Path], missing: tuple[int, ...]) -> None:
    given = [None if place in missing else path for place, path in enumerate(files)]
    with pytest.raises(UsageError, match="alone can't be ranked"):
        load_evaluation(*given)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("queries.jsonl", "", "is empty"),
        ("queries.jsonl", "Hvem?\n", ":1: is not JSON"),
        ("queries.jsonl", "[1]\n", ":1: is a JSON list, not an object"),
        ("queries.jsonl", QUERIES + '{"text": "Når?"}\n', ':3: "id" is missing'),
        ("queries.jsonl", '{"id": true, "text": "Når?"}\n', ':1: "id" is missing or is not an id'),
        ("documents.jsonl", '{"id": "d1"}\n', ':1: "text" is missing.'),
        ("documents.jsonl", '{"id": "d1", "text": " "}\n', ':1: "text" is not a string, or is empty'),
        ("documents.jsonl", DOCUMENTS + '{"id": "d1", "text": "Igjen."}\n', "'d1' appears twice"),
        ("qrels.txt", "", "is empty"),
        ("qrels.txt", "q1 1\n", ":1: 2 fields instead of 3"),
        ("qrels.txt", "q1 0 d1 ja\n", "'ja' is not a number"),
        ("qrels.txt", "q1 0 d9 1\nq9 0 d1 1\n", "marks none of the documents as relevant; 2 of its judgements"),
        ("qrels.txt", "q1 0 d1 0\n", "marks none of the documents as relevant"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    files: tuple[Path, Path, Path], name: str, content: str, message: str
) -> None:
    (files[0].parent / name).write_text(content, encoding="utf-8", newline="")
    with pytest.raises(UsageError) as caught:
        load_evaluation(*files)
    assert message in caught.value.message
    assert name in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_missing_or_not_utf_8_is_named(files: tuple[Path, Path, Path]) -> None:
    files[0].write_bytes(b'{"id": "q1", "text": "bl\xe5"}\n')
    with pytest.raises(UsageError, match=r"queries.jsonl:1: is not UTF-8"):
        load_evaluation(*files)
    files[0].unlink()
    with pytest.raises(UsageError, match=r"queries.jsonl: can't be read"):
        load_evaluation(*files)


def test_judgements_of_texts_that_a_sample_lacks_are_counted_and_so_are_queries_left_out_that_have_none(
    files: tuple[Path, Path, Path],
) -> None:
    files[2].write_text("q1 0 d9 1\nq9 0 d1 2\nq1 0 d1 1\n2 0 d1 0\n")
    found = load_evaluation(*files)
    assert (found.relevant, found.left_out, list(found.queries)) == ({"q1": ("d1",)}, 2, ["q1"])


def test_a_beir_folder_is_read_as_it_is_and_takes_no_other_files(
    tmp_path: Path, files: tuple[Path, Path, Path]
) -> None:
    found = load_evaluation(None, None, None, written(tmp_path / "set", FILES))
    assert found.queries == {"q1": "Hva?"} and found.relevant == {"q1": ("d1",)}
    assert found.documents["d1"] == "Oslo Hovedstaden." and found.left_out == 2
    with pytest.raises(UsageError, match="--queries can't be added"):
        load_evaluation(files[0], None, None, tmp_path / "set")


def test_a_task_of_mteb_is_an_evaluation_set_and_takes_no_other_files(
    tmp_path: Path, files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "set", {**FILES, "qrels/test.tsv": "q1\td1\t0.5\nq1\td2\t-1\n"})
    assert load_evaluation(None, None, None, folder).relevant == {"q1": ("d1",)}, "any grade above 0 is relevant"
    monkeypatch.setattr(evaluation, "read_task", lambda name: read_beir(folder, fractions=name == "Some"))
    found = load_evaluation(None, None, None, task="Some")
    assert (found.queries, found.relevant, found.bundled) == ({"q1": "Hva?"}, {"q1": ("d1",)}, False)
    with pytest.raises(UsageError, match="--beir comes with its own texts; --task can't be added"):
        load_evaluation(None, None, None, folder, "Some")
    with pytest.raises(UsageError, match="--task comes with its own texts; --qrels can't be added"):
        load_evaluation(None, None, files[2], None, "Some")


def test_a_data_set_on_the_hub_in_the_layout_of_beir_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "set", FILES)
    monkeypatch.setattr(evaluation, "fetch_input", lambda spec: folder / spec.removeprefix("hf://datasets/me/set/"))
    assert load_evaluation(None, None, None, "hf://datasets/me/set/").relevant == {"q1": ("d1",)}


def test_three_columns_and_the_names_of_mteb_in_parquet_are_judgements(files: tuple[Path, Path, Path]) -> None:
    table = pytest.importorskip("pyarrow").table
    from pyarrow.parquet import write_table

    files[2].write_text("query-id\tcorpus-id\tscore\nq1\td2\t2\n")
    assert load_evaluation(*files).relevant == {"q1": ("d2",)}
    names = [path.with_suffix(".parquet") for path in files]
    write_table(table({"_id": ["q1", "2"], "text": ["Hvem?", "Hva?"]}), names[0])
    write_table(table({"_id": ["d1", "d2"], "title": ["Kari", ""], "text": ["", "Ei bok."]}), names[1])
    write_table(table({"query-id": ["q1", "2"], "corpus-id": ["d1", "d2"], "score": [1, 0]}), names[2])
    found = load_evaluation(*map(str, names))
    assert (found.documents, found.relevant) == ({"d1": "Kari", "d2": "Ei bok."}, {"q1": ("d1",)})


def test_a_file_of_a_data_set_on_the_hub_is_fetched(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(evaluation, "fetch_input", lambda spec: asked.append(spec) or files[len(asked) - 1])
    uris = [f"hf://datasets/me/set/{path.name}" for path in files]
    assert load_evaluation(*uris).relevant == {"q1": ("d1",), "2": ("d2",)}
    assert asked == uris
