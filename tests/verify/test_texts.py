"""The bundled texts are well formed, and a user's file is read or refused with a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher.verify.texts import load_probe_texts, load_questions


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def test_the_bundled_probe_texts_cover_three_languages_short_and_long() -> None:
    texts = load_probe_texts()
    assert len(texts) >= 20
    assert len({text.id for text in texts}) == len(texts)
    assert len({text.text for text in texts}) == len(texts)
    for language in ("nb", "nn", "se"):
        lengths = [len(text.text.split()) for text in texts if text.language == language]
        assert min(lengths) <= 8 and max(lengths) >= 60
    assert sum(len(text.text.split()) >= 60 for text in texts) <= len(texts) / 3
    assert max(len(text.text.split()) for text in texts) <= 150


def test_the_first_question_asks_for_the_capital_of_norway() -> None:
    first = load_questions()[0]
    assert first.query == "Hva er hovedstaden i Norge?"
    assert first.positive == "Oslo er hovedstaden og den største byen i Norge."


def test_every_question_has_near_misses_and_all_passages_are_different() -> None:
    questions = load_questions()
    assert len(questions) >= 48
    assert sum(question.language == "nn" for question in questions) >= 10
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.query for question in questions}) == len(questions)
    passages = [text for question in questions for text in (question.positive, *question.negatives)]
    assert len(set(passages)) == len(passages)
    for question in questions:
        assert question.language in {"nb", "nn"}
        assert 3 <= len(question.negatives) <= 5, question.id
        for passage in (question.positive, *question.negatives):
            assert 8 <= len(passage.split()) <= 30, passage


def test_the_right_passage_shares_more_words_with_its_question_than_most_near_misses() -> None:
    questions = load_questions()
    solved = 0
    for question in questions:
        asked = words(question.query)
        right = len(asked & words(question.positive))
        solved += all(right >= len(asked & words(negative)) for negative in question.negatives)
    assert solved / len(questions) > 0.85


def test_a_near_miss_shares_a_word_with_its_question() -> None:
    shares = [
        bool(words(question.query) & words(negative))
        for question in load_questions()
        for negative in question.negatives
    ]
    assert sum(shares) / len(shares) > 0.9


def test_a_text_file_with_byte_order_mark_and_crlf_gives_one_text_per_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffFørste linje\r\n\r\nAndre linje\r\n".encode())
    texts = load_probe_texts(path)
    assert [text.text for text in texts] == ["Første linje", "Andre linje"]
    assert [text.id for text in texts] == ["line-1", "line-3"]
    assert {text.language for text in texts} == {"und"}


def test_a_jsonl_file_may_leave_out_id_and_language(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "Ei linje"}\r\n{"id": "b", "language": "nn", "text": "To"}\r\n')
    first, second = load_probe_texts(path)
    assert (first.id, first.language, first.text) == ("line-1", "und", "Ei linje")
    assert (second.id, second.language, second.text) == ("b", "nn", "To")


def test_a_line_separator_inside_a_text_does_not_split_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("en\u2028linje\n", encoding="utf-8")
    assert len(load_probe_texts(path)) == 1


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        ('{"text": "a"}\nno json\n', ":2:", "is not JSON"),
        ('{"text": "a"}\n\n["b"]\n', ":3:", "is a JSON list, not an object"),
        ('{"txt": "a"}\n', ":1:", '"text" is missing'),
        ('{"text": 7}\n', ":1:", '"text" is not a text'),
        ('{"text": " "}\n', ":1:", '"text" is not a text, or is empty'),
        ("\n \n", ":1:", "holds no text"),
        ("", ":1:", "holds no text"),
    ],
)
def test_a_bad_jsonl_line_is_named_with_its_number_and_a_remedy(
    tmp_path: Path, content: str, place: str, problem: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        load_probe_texts(path)
    what, remedy = str(caught.value).split("\n")
    assert what.startswith(f"{path}{place}") and problem in what
    assert remedy.startswith(("Give", "Write"))


@pytest.mark.parametrize("load", [load_probe_texts, load_questions])
def test_a_file_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, load: Callable[[Path], tuple[object, ...]]
) -> None:
    with pytest.raises(ValueError, match=r"none\.jsonl.*cannot be read"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path)


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes("god dag\nblåbær\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"old\.txt:2: is not UTF-8"):
        load_probe_texts(path)


@pytest.mark.parametrize("negatives", [None, [], ["a", 3], "a", [""]])
def test_a_question_without_a_list_of_near_misses_is_refused(tmp_path: Path, negatives: object) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"query": "q", "positive": "p", "negatives": negatives}), encoding="utf-8")
    with pytest.raises(ValueError, match=r'q\.jsonl:1: "negatives" is not a list of texts'):
        load_questions(path)


def test_reading_the_texts_imports_no_torch() -> None:
    code = "import sys, patcher.verify.texts as texts; texts.load_questions(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
