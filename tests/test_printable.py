"""Text that a model or a Hub chose is shown as text: what shows nothing by itself is written out."""

from __future__ import annotations

import json

from patcher.printable import one_line, printable, printable_json

EVIL = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202egpj\u2066\x00\x7f\r\ud800\ufeff"


def test_what_shows_nothing_by_itself_is_written_out() -> None:
    shown = printable(EVIL)
    assert shown.isprintable() and "\\x1b[31mred\\x9b2J\\u202egpj\\u2066" in shown
    assert printable("blåbær 雪 🙂\n\ttab\r\n") == "blåbær 雪 🙂\n\ttab\r\n"
    assert one_line("a\nError: b") == "a\\nError: b"


def test_json_says_the_same_in_safe_characters() -> None:
    text = printable_json(json.dumps({"å": EVIL, "\U000e0001": 1}, ensure_ascii=False, indent=1))
    assert text.replace("\n", "").isprintable() and "å" in text
    assert json.loads(text) == {"å": EVIL, "\U000e0001": 1}


def test_a_name_can_not_forge_a_second_line() -> None:
    assert one_line("a\r\nError: b\n") == "a\\r\\nError: b\\n"
