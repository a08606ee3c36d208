"""Finds the templates of cards and pages and fills them with Jinja; escapes untrusted text for Markdown.

In Markdown untrusted text has no markup, no HTML and no end of a code block.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.constants import RECORD, TOOL_URL
from patcher.documents.formatting import confinement, number, percent, rounded, size, unbroken
from patcher.errors import OutputError, from_os
from patcher.patching.staging import check_parent, write_atomically
from patcher.printable import one_line, printable, printable_json

if TYPE_CHECKING:
    from jinja2 import Template

_MARKUP = re.compile(r"([\\`*\[\]<>|$~]|(?<!\w)_|_(?!\w)|&(?=[#\w]+;))")
_LINKED = re.compile(r"(\S*(?:@\w|://|\bwww\.|#\d)\S*)", re.IGNORECASE)


def templates() -> Path:
    """The folder of templates: in the installed package, or at the top of a checkout."""
    installed = Path(str(files("patcher") / "templates"))
    return installed if installed.is_dir() else Path(__file__).parents[2] / "templates"


def copy_templates(target: Path) -> list[str]:
    """Write every template into a folder and return their paths in it. Raises OutputError, also for an edited one."""
    check_parent(target)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file, not a folder; nothing was written.", "Choose another folder.")
    if (target / RECORD).is_file():
        raise OutputError(f"{target} is a patched model; nothing was written.", "Choose a separate folder.")
    origin = templates()
    files = (path for path in sorted(origin.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    found = {path.relative_to(origin).as_posix(): path.read_bytes() for path in files}
    edited = [name for name, content in found.items() if _differs(target / name, content)]
    if edited:
        raise OutputError(f"{target / edited[0]} was edited; nothing was written.", "Choose another folder.")
    try:
        for name, content in found.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target / name, content)  # a cut file would look edited
    except OSError as error:
        raise from_os(error, str(target)) from error
    return sorted(found)


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and not (path.is_file() and path.read_bytes() == content)


def template(name: str) -> Template:
    """Load a template by its file name; rendering it with an undefined name is an error.

    In `.html.jinja` everything is escaped: the texts, names, code and errors of a model are untrusted. In Markdown the
    template escapes by itself, with the filters below.
    """
    # Not above: nothing is written while a model runs, and memory counts then.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(templates()),
        autoescape=name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (confinement, number, percent, rounded, size, unbroken, code, fence, literal, printable, text)
    environment.globals["tool"] = TOOL_URL
    environment.filters.update({one.__name__: one for one in filters})
    return environment.get_template(name)


def text(value: object) -> str:
    """The value as text on one line, with everything escaped that Markdown would interpret.

    What would become a link or a mention without any markup is shown as code.
    """
    parts = _LINKED.split(one_line(str(value)))
    return "".join(code(part) if odd % 2 else _MARKUP.sub(r"\\\1", part) for odd, part in enumerate(parts))


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
