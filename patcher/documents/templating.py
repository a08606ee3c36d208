"""Finds the templates of cards and pages, and fills them with Jinja."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.documents import markdown
from patcher.documents.formatting import number, percent, size

if TYPE_CHECKING:
    from jinja2 import Template


def templates() -> Path:
    """The folder of templates: in the installed package, or at the top of a checkout."""
    installed = Path(str(files("patcher") / "templates"))
    return installed if installed.is_dir() else Path(__file__).parents[2] / "templates"


def template(name: str, **filters: Callable[..., Any]) -> Template:
    """Load a template by its file name; rendering it with an undefined name is an error.

    `filters` are added to those for numbers. In `.html.jinja` everything is escaped: the texts, names, code and errors
    of a model are untrusted. In Markdown the template escapes by itself, with the filters of `markdown`.
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
    safe = {name: getattr(markdown, name) for name in ("code", "fence", "literal", "printable", "text")}
    environment.filters.update(number=number, percent=percent, size=size, **safe, **filters)
    return environment.get_template(name)
