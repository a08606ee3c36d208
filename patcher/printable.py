"""Makes any text safe for a terminal: what is not meant to be seen is written out as an escape."""

from __future__ import annotations

import re

_HIDDEN = re.compile(r"(?!\r\n)[^\n\t -~]")


def printable(text: str) -> str:
    r"""The text with every character that shows nothing by itself as `\x1b`, `\u202e` and the like.

    Those are control characters (ANSI escapes begin with one), the ones that turn the direction of writing or are
    invisible (Trojan Source, CVE-2021-42574), and lone surrogates out of odd file names. Line ends stay.
    """
    return _HIDDEN.sub(_escaped, text)


def one_line(text: str) -> str:
    r"""The same on one line: line ends are written out too, so that a name can't pretend to be a second message."""
    return printable(text).replace("\r", "\\r").replace("\n", "\\n")


def printable_json(text: str) -> str:
    r"""JSON with the same characters as `\uXXXX`, which every reader of JSON turns back."""
    return re.sub(r"[^\n -~]", lambda found: found[0] if found[0].isprintable() else _json_escaped(found[0]), text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
