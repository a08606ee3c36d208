"""The bundled texts are well formed, and a user's file is read or refused with a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from patcher.errors import UsageError
from patcher.verify.settings import MAX_TOKENS
from patcher.verify.texts import ProbeText, load_all_questions, load_hard_questions, load_probe_texts, load_questions
from tests.conftest import MINI

NORBERT4_LOCAL_WINDOW = 256  # tokens, in the published models


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def test_the_bundled_probe_texts_cover_three_languages_and_every_kind() -> None:
    texts = load_probe_texts()
    assert 64 <= len(texts) <= 70  # each verification runs them all
    assert len({text.id for text in texts}) == len(texts)
    assert len({text.text for text in texts}) == len(texts)
    languages = Counter(text.language for text in texts)
    assert set(languages) == {"nb", "nn", "se"}
    assert languages["nb"] >= 24 and languages["nn"] >= 12 and languages["se"] >= 10
    kinds = {language: Counter(text.kind for text in texts if text.language == language) for language in languages}
    for language in languages:
        assert kinds[language]["word"] >= 2 and kinds[language]["question"] >= 3, language
        assert kinds[language]["sentence"] >= 5 and kinds[language]["passage"] >= 2, language
    assert {text.kind for text in texts} == {"word", "question", "sentence", "passage", "long"}


def test_each_bundled_probe_text_is_of_the_kind_that_it_says() -> None:
    for text in load_probe_texts():
        length = len(text.text.split())
        assert text.id.startswith(f"{text.language}-")
        assert (text.kind == "word") == (length == 1), text.id
        assert (text.kind == "question") == text.text.endswith("?"), text.id
        assert (text.kind == "passage") == (60 <= length <= 150), text.id
        assert (text.kind == "long") == (length > 150), text.id


def test_each_bundled_probe_text_names_its_source_and_its_licence() -> None:
    for text in load_probe_texts():
        assert (text.source, text.licence) == ("written for splade-patcher", "CC0-1.0"), text.id


def test_the_long_texts_reach_beyond_the_local_window_and_beyond_the_limit_of_the_verification() -> None:
    tokenizer = Tokenizer.from_file(str(MINI / "tokenizer.json"))
    config = json.loads((MINI / "config.json").read_text("utf-8"))
    tokens = {text.id: len(tokenizer.encode(text.text).ids) for text in load_probe_texts() if text.kind == "long"}
    lengths = sorted(tokens.values())
    assert lengths[0] > max(NORBERT4_LOCAL_WINDOW, config["local_window_length"])
    assert lengths[0] < MAX_TOKENS, "one is read whole"
    assert sum(length > MAX_TOKENS for length in lengths) >= 2, "and some fill all positions and are cut"
    assert 1000 <= lengths[-1] <= config["max_sequence_length"], "the miniature can read the longest one whole"


def test_no_sentence_stands_twice_in_the_long_texts() -> None:
    for text in load_probe_texts():
        sentences = re.split(r"[.:?!]\s+", text.text)
        assert text.kind != "long" or len(set(sentences)) == len(sentences), text.id


def test_the_first_question_asks_for_the_capital_of_norway() -> None:
    first = load_questions()[0]
    assert first.query == "Hva er hovedstaden i Norge?"
    assert first.positive == "Oslo er hovedstaden og den største byen i Norge."


def test_every_question_has_near_misses_and_all_passages_are_different() -> None:
    questions = load_all_questions()
    assert len(questions) >= 120
    assert sum(question.language == "nn" for question in load_hard_questions()) >= 20
    assert sum(question.language == "nn" for question in questions) >= 10
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.query for question in questions}) == len(questions)
    passages = [text for question in questions for text in (question.positive, *question.negatives)]
    assert len(set(passages)) == len(passages) >= 600
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
        for question in load_all_questions()
        for negative in question.negatives
    ]
    assert sum(shares) / len(shares) > 0.9


def test_a_near_miss_of_most_hard_questions_shares_more_words_than_the_right_passage() -> None:
    misled = 0
    for question in load_hard_questions():
        asked = words(question.query)
        right = len(asked & words(question.positive))
        misled += any(right < len(asked & words(negative)) for negative in question.negatives)
    assert misled / len(load_hard_questions()) > 0.8


def own_texts(path: Path) -> tuple[ProbeText, ...]:
    """What a user's file adds to the bundled texts, which stay in front of it."""
    bundled, found = load_probe_texts(), load_probe_texts(path)
    assert found[: len(bundled)] == bundled
    assert len({text.id for text in found}) == len(found)
    return found[len(bundled) :]


def test_a_users_text_file_is_added_one_text_per_line_and_names_itself_as_the_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffFørste linje\r\n  Andre linje \r\n".encode())
    assert own_texts(path) == (
        ProbeText("own:line-1", "und", "Første linje", "own", "mine.txt", "unknown"),
        ProbeText("own:line-2", "und", "Andre linje", "own", "mine.txt", "unknown"),
    )


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.NDJSON", "mine.json"])
def test_a_users_json_lines_may_leave_out_everything_but_the_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    written = [
        '{"text": "Ei linje"}',
        '{"id": 7, "language": null, "text": "To", "label": []}',
        '{"id": "b", "language": "nn", "text": "Tre", "kind": "sentence", "source": "avisa", "licence": "CC-BY-4.0"}',
    ]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(written).encode())
    assert own_texts(path) == (
        ProbeText("own:line-1", "und", "Ei linje", "own", name, "unknown"),
        ProbeText("own:7", "und", "To", "own", name, "unknown"),
        ProbeText("own:b", "nn", "Tre", "sentence", "avisa", "CC-BY-4.0"),
    )


def test_an_id_of_a_bundled_text_may_be_used_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "nb-01", "text": "Ei linje"}\n', encoding="utf-8")
    assert [text.id for text in own_texts(path)] == ["own:nb-01"]


def test_a_line_separator_inside_a_text_does_not_split_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("en\u2028linje\n", encoding="utf-8")
    assert [text.text for text in own_texts(path)] == ["en\u2028linje"]


def test_a_line_of_just_the_largest_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"x" * 1_000_000 + b"\r\n" + "ø".encode() * 1_000_000)
    assert [len(text.text) for text in own_texts(path)] == [1_000_000, 1_000_000]


def test_a_hundred_thousand_lines_cost_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("".join(f"Linje {number} om vær og vind.\n" for number in range(100_000)), encoding="utf-8")
    tracemalloc.start()
    try:
        assert len(own_texts(path)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 60e6  # bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("negatives", [None, [], ["a", 3], "a", [""]])
def test_a_question_without_a_list_of_near_misses_is_refused(tmp_path: Path, negatives: object) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"query": "q", "positive": "p", "negatives": negatives}), encoding="utf-8")
    with pytest.raises(UsageError, match=r'q\.jsonl:1: "negatives" is not a list of texts'):
        load_questions(path)


def test_reading_the_texts_imports_no_torch() -> None:
    code = "import sys, patcher.verify.texts as texts; texts.load_questions(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
