"""Writes the reference in docs/python-api.md from what `import patcher` offers; `make figures` puts it there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import patcher
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "python-api.md"
_REFERENCE = re.compile(r"(?<=<!-- reference -->\n).*(?=<!-- end of the reference -->)", re.DOTALL)
_KINDS = {"Functions": inspect.isfunction, "Values": is_dataclass}


def reference() -> Iterator[str]:
    """The lines of the reference: functions, values, errors, each with its docstring."""
    offered = {name: getattr(patcher, name) for name in patcher.__all__ if name != "__version__"}
    for title, belongs in _KINDS.items():
        yield from (f"## {title}", "")
        for name, found in offered.items():
            if belongs(found):
                yield from (f"### {name}", "", "```text", *_signature(name, found), "```", "")
                yield from (*_text(found), "", *_properties(found))
    yield from ("## Errors", "", "| error | exit code | what it means |", "|---|---:|---|")
    for name, found in offered.items():
        if isinstance(found, type) and issubclass(found, Exception):
            yield f"| `{name}` | {found.exit_code} | {_text(found)[0]} |"
    yield ""


def page() -> str:
    """The page with the present reference in it."""
    return _REFERENCE.sub(lambda _: "\n".join(("", *reference())), PAGE.read_text("utf-8"))


def _signature(name: str, found: Any) -> Iterator[str]:
    """How it is called, as the code writes it; one parameter or field a line where one line is too short."""
    parameters = inspect.signature(found).parameters.values()
    hidden = {one.name for one in fields(found) if not one.init or not one.repr} if is_dataclass(found) else set()
    words: list[str] = []
    for one in parameters:
        if one.name in hidden or one.name == "_":
            continue
        if one.kind is one.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        words.append(f"{one.name}: {one.annotation}{default}")
    returned = "" if isinstance(found, type) else f" -> {inspect.signature(found).return_annotation}"
    line = f"{name}({', '.join(words)}){returned}"
    yield from [line] if len(line) <= 100 else (f"{name}(", *(f"    {word}," for word in words), f"){returned}")


def _default(value: Any) -> str:
    """A default as a reader would write it."""
    if is_dataclass(value):
        return f"{type(value).__name__}()"
    return "..." if callable(value) or repr(value).startswith("<") else repr(value).replace("'", '"')


def _text(found: Any) -> list[str]:
    return (inspect.getdoc(found) or "").splitlines()


def _properties(found: Any) -> Iterator[str]:
    """The properties of a value, with the first line of their docstrings."""
    named = {
        name: getattr(one, "func", None) or getattr(one, "fget", None)
        for name, one in vars(found).items()
        if not name.startswith("_")
    }
    lines = [f"- `.{name}`: {_text(get)[0]}" for name, get in named.items() if get is not None and _text(get)]
    yield from (*lines, "") if lines else ()


if __name__ == "__main__":
    print("\n".join(reference()))
