"""The sets of rows: what is read, kept, held out, filled up, and refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import SourceError
from tests.training.conftest import Configure

ROLES = {"query": "q", "positive": "p", "negatives": ["n"]}
SCORED = {**ROLES, "score": "s"}


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"q": f"spørsmål {n}", "p": f"svar {n}", "n": f"galt {n}", **more} for n in range(count)]


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    """The rows as a file of the kind that its name says."""
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(found)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), "utf-8")
    return path


def read(configure: Configure, source: Path | str, **changes: Any) -> Any:
    """What is read of one set with these columns; `changes` are keys of the set."""
    from training_config import read_config
    from training_data import read_sets

    found = {"name": "set", "source": str(source), "columns": ROLES, **changes}
    loss = {"base": "SparseMarginMSELoss"} if found["columns"].get("score") else {}
    return read_sets(read_config(configure(datasets=[found], loss=loss)))


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv", "tsv"])
def test_a_file_of_each_kind_is_mapped_and_not_loaded(configure: Configure, tmp_path: Path, kind: str) -> None:
    found = read(configure, write(tmp_path / f"rows.{kind}", rows(3)))
    train = found.train["set"]
    assert train[2] == {"query": "spørsmål 2", "positive": "svar 2", "negative_1": "galt 2"}
    assert train.cache_files, "a memory-mapped file is behind the rows"
    assert found.counts["set"]["trained on"] == 3


def test_a_data_set_of_the_hub_is_read_by_its_configuration_and_split(configure: Configure, tmp_path: Path) -> None:
    """`datasets` reads a folder that is laid out as a repository is in the same way."""
    folder = tmp_path / "repository"
    folder.mkdir()
    write(folder / "nb-test.jsonl", rows(2))
    write(folder / "nn-test.jsonl", rows(5))
    configs = [{"config_name": n, "data_files": [{"split": "test", "path": f"{n}-test.jsonl"}]} for n in ("nb", "nn")]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", "utf-8")
    assert len(read(configure, folder, configuration="nn", split="test").train["set"]) == 5
    for wrong, reason in (({"split": "train"}, "train"), ({"configuration": "da"}, "da")):
        with pytest.raises(SourceError, match=r"datasets\.set: .* can't be loaded") as caught:
            read(configure, folder, **{"configuration": "nn", "split": "test", **wrong})
        assert reason in caught.value.message
        assert "configuration and split" in caught.value.hint


def test_a_filter_takes_a_value_or_a_list_and_language_is_one(configure: Configure, tmp_path: Path) -> None:
    languages = ["norwegian", "danish", "swedish"]
    found = [
        {**row, "language": language, "task": task} for task in (1, 2) for language in languages for row in rows(2)
    ]
    source = write(tmp_path / "rows.jsonl", found)
    for wanted, kept in (
        ({"filter": {"language": ["norwegian", "danish"]}}, 8),
        ({"filter": {"language": "danish", "task": 1}}, 2),
        ({"language": ["norwegian", "swedish"], "filter": {"task": [2]}}, 4),
        ({"language": "danish"}, 4),
        ({"max_rows": 5}, 5),
    ):
        assert len(read(configure, source, **wanted).train["set"]) == kept
    with pytest.raises(SourceError, match="has no row with language no or finnish") as caught:
        read(configure, source, language=["no", "finnish"])
    assert caught.value.hint == "language is one of danish, norwegian, swedish."


def test_a_row_without_a_negative_is_kept_and_gets_a_passage_of_another_question(
    configure: Configure, tmp_path: Path
) -> None:
    found = rows(6)
    for row, negative in zip(found, [None, "", "galt", None, None, None], strict=True):
        row["n"] = negative
    found[4]["q"] = found[3]["q"]  # both answers are right for this question
    given = read(configure, write(tmp_path / "rows.jsonl", found))
    train = given.train["set"][:]
    assert train["query"] == [row["q"] for row in found]
    assert train["positive"] == [row["p"] for row in found]
    assert train["negative_1"][2] == "galt"
    assert set(train["negative_1"]) <= {"galt", *train["positive"]}
    right = {(query, positive) for query, positive in zip(train["query"], train["positive"], strict=True)}
    assert not right & set(zip(train["query"], train["negative_1"], strict=True))
    assert given.counts["set"]["filled up with passages of other rows"] == 5


def test_lists_of_negatives_become_columns_of_the_same_length(configure: Configure, tmp_path: Path) -> None:
    found = rows(4)
    for row, negatives in zip(found, [["a", "b", "c"], ["d"], [], None], strict=True):
        row["n"] = negatives
    source = write(tmp_path / "rows.jsonl", found)
    train = read(configure, source).train["set"]
    assert train.column_names == ["query", "positive", "negative_1", "negative_2", "negative_3"]
    assert list(train[0].values()) == ["spørsmål 0", "svar 0", "a", "b", "c"]
    assert all(len(set(row.values())) == 5 for row in train)
    assert read(configure, source, max_negatives=2).train["set"].num_columns == 4
    both = {**ROLES, "negatives": ["n", "p2"]}
    for row in found:
        row["p2"] = "galt"
    train = read(configure, write(tmp_path / "both.jsonl", found), columns=both, max_negatives=1).train["set"]
    assert train.num_columns == 3
    found = [{**row, "n": None} for row in rows(3)]
    both = {**ROLES, "negatives": ["n", "q2"]}
    source = write(tmp_path / "second.jsonl", [{**row, "q2": "galt"} for row in found])
    assert set(read(configure, source, columns=both, max_negatives=1).train["set"]["negative_1"]) == {"galt"}


def test_rows_that_a_teacher_scored_keep_their_own_negatives_alone(configure: Configure, tmp_path: Path) -> None:
    found = [{**row, "s": [2.0, 1.0]} for row in rows(5)]
    found[1]["n"] = None
    found[4]["s"] = None
    given = read(configure, write(tmp_path / "rows.jsonl", found), columns=SCORED)
    train = given.train["set"]
    assert train.column_names == ["query", "positive", "negative_1", "score"]
    assert train["query"][:] == ["spørsmål 0", "spørsmål 2", "spørsmål 3"]
    assert train[0]["score"] == [2.0, 1.0]
    assert given.counts["set"]["without a score or all their negatives"] == 2


@pytest.mark.parametrize(("scores", "kept"), [([9.0, 3.0, 2.0, 1.0], [9.0, 3.0]), ([6.0, 7.0, 8.0], [6.0])])
def test_scores_of_negatives_that_are_dropped_are_dropped_too(
    configure: Configure, tmp_path: Path, scores: list[float], kept: list[float]
) -> None:
    """Scores of the positive and of each negative, or the differences between the two."""
    found = [{**row, "n": ["a", "b", "c"], "s": scores} for row in rows(3)]
    source = write(tmp_path / "rows.jsonl", found)
    train = read(configure, source, columns=SCORED, max_negatives=1).train["set"]
    assert list(train[0].values()) == ["spørsmål 0", "svar 0", "a", kept]


def test_a_set_that_is_only_evaluated_on_needs_no_scores(configure: Configure, tmp_path: Path) -> None:
    from training_config import read_config
    from training_data import read_sets

    scored = {"name": "scored", "source": str(write(tmp_path / "scored.jsonl", rows(2, s=[2.0, 1.0])))}
    held = {"name": "held", "source": str(write(tmp_path / "held.jsonl", rows(2))), "eval_share": 1}
    sets = [{**scored, "columns": SCORED}, {**held, "columns": ROLES}]
    found = read_sets(read_config(configure(datasets=sets, loss={"base": "SparseDistillKLDivLoss"})))
    assert (list(found.train), list(found.held_out)) == (["scored"], ["held"])


def test_a_share_is_held_out_and_no_question_of_it_is_trained_on(configure: Configure, tmp_path: Path) -> None:
    found = [*rows(20), *rows(20)]  # each question twice
    source = write(tmp_path / "rows.jsonl", found)
    for share, held in ((0.25, 10), (5, 5)):
        given = read(configure, source, eval_share=share)
        data, rest = given.held_out["set"]
        assert data.name == "set"
        assert len(rest) == held
        assert not set(rest["q"]) & set(given.train["set"]["query"])
        counts = given.counts["set"]
        assert counts["whose query is held out"] == 40 - counts["trained on"] - held > 0
    with pytest.raises(SourceError, match="every set is held out"):
        read(configure, source, eval_share=1)


@pytest.mark.parametrize(
    ("lines", "changes", "message", "hint"),
    [
        (None, {}, "can't be read: there is no such file.", "Set its source"),
        (["{"], {}, "can't be loaded: ", "Check its source"),
        (['{"q": "a", "p": "b"}'], {}, "has no column n.", "Its columns are q, p."),
        (['{"q": "a", "p": "b", "neg": "c"}'], {"columns": {**ROLES, "negatives": "ne"}}, "no column ne.", "mean neg?"),
        ([], {}, "", ""),
        (['{"q": 3, "p": "b", "n": "c"}'], {}, "holds 3 in q, which is not a string.", "another column"),
        (['{"q": "a", "p": "", "n": "c"}'], {}, "has no row left.", "Check its filter"),
        (['{"q": "a", "p": "b", "n": null}'], {}, "has too few passages to fill up its negatives.", "Leave"),
        (['{"q": "a", "p": "b", "n": "c"}'], {"filter": {"lang": "no"}}, "has no column lang.", "Its columns are"),
        (['{"q": "a", "p": "b", "n": "c", "s": "2.0"}'], {"columns": SCORED}, "holds '2.0' in s", "another column"),
        (['{"q": "a", "p": "b", "n": null, "s": [2, 1]}'], {"columns": SCORED}, "has no row with a score and", "Check"),
    ],
)
def test_rows_that_would_not_do_are_refused(
    configure: Configure, tmp_path: Path, lines: list[str] | None, changes: dict[str, Any], message: str, hint: str
) -> None:
    path = tmp_path / "rows.jsonl"
    if lines is not None:
        path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(SourceError) as caught:
        read(configure, path, **changes)
    assert caught.value.message.startswith(f"datasets.set: {path} ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_every_set_is_looked_at_before_any_is_loaded(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import training_data
    from training_config import read_config

    good, bad = write(tmp_path / "good.jsonl", rows(2)), write(tmp_path / "bad.jsonl", [{"q": "a"}])
    sets = [{"source": str(path), "columns": ROLES} for path in (good, bad)]
    monkeypatch.setattr(training_data, "read_set", lambda *_: pytest.fail("a set was loaded"))
    with pytest.raises(SourceError, match=r"datasets\.bad: .* has no column p"):
        training_data.read_sets(read_config(configure(datasets=sets)))

    labelled = write(tmp_path / "labelled.csv", rows(3, label=1, language="nb"))
    for wrong, message in (
        ({"language": "norwegian"}, "has no row with language norwegian."),
        ({"filter": {"label": 2}}, "has no row with label 2."),
        ({"filter": {"label": "1"}}, "holds 1 in label, which can't equal '1'."),
    ):
        one = {"source": str(labelled), "columns": ROLES, **wrong}
        with pytest.raises(SourceError) as caught:
            training_data.read_sets(read_config(configure(datasets=[{"source": str(good), "columns": ROLES}, one])))
        assert message in caught.value.message
    monkeypatch.undo()
    monkeypatch.setattr(training_data, "FILTERED_ROWS", 2)
    sorted_by_language = write(tmp_path / "sorted.jsonl", [*rows(3, language="nb"), *rows(1, language="nn")])
    assert len(read(configure, sorted_by_language, language="nn").train["set"]) == 1
    assert "Note: datasets.set: none of its first 2 rows has language nn." in capsys.readouterr().err
