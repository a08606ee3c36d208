"""Escapes untrusted text for Markdown: no markup, no HTML, no end of a code block."""

from __future__ import annotations

import json
import re

from patcher.printable import one_line, printable, printable_json

_MARKUP = re.compile(r"([\\`*\[\]<>|$~]|(?<!\w)_|_(?!\w)|&(?=[#\w]+;))")


def text(value: object) -> str:
    """The value as text on one line, with everything escaped that Markdown would interpret."""
    return _MARKUP.sub(r"\\\1", one_line(str(value)))


def code(value: object) -> str:
    """The value as inline code, between more backticks than it contains; a bar is escaped, as it would end a cell."""
    shown = one_line(str(value)).replace("|", "\\|")
    marks = _ticks(shown, 1)
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{marks}{padding}{shown}{padding}{marks}"


def fence(value: str) -> str:
    """The fence of a block of code: longer than any run of backticks in it."""
    return _ticks(value, 4)


def literal(value: str) -> str:
    """The value as a string literal of Python and of YAML, quotes included."""
    return printable_json(json.dumps(value, ensure_ascii=False))


def _ticks(value: str, least: int) -> str:
    return "`" * max(least, *(len(run) + 1 for run in re.findall("`+", value)), least)


__all__ = ["code", "fence", "literal", "printable", "text"]
