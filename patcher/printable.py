"""Makes any text safe for a terminal: characters that are not printable become escapes."""

from __future__ import annotations

import json
import re

_HIDDEN = re.compile(r"(?!\r\n)[^\n\t -~]")
# Letters and marks that show nothing, which `str.isprintable` does not know; some can be names in Python.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def is_visible(character: str) -> bool:
    """Whether a reader sees the character, and only that."""
    return character.isprintable() and character not in _BLANK


def printable(text: str) -> str:
    r"""The text with every character that is not printable as `\x1b`, `\u202e` and the like.

    Those are control characters (ANSI escapes begin with one), characters that are invisible or change the direction
    of the text (Trojan Source, CVE-2021-42574), and lone surrogates from file names. Line breaks stay.
    """
    return _HIDDEN.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""The same on one line: line breaks are escaped too, so that a name can't forge a second message."""
    return printable(text).replace("\r", "\\r").replace("\n", "\\n")


def printable_json(text: str) -> str:
    r"""JSON with the same characters as `\uXXXX`, which every JSON parser decodes."""
    return re.sub(r"[^\n -~]", lambda found: found[0] if is_visible(found[0]) else json.dumps(found[0])[1:-1], text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if is_visible(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
