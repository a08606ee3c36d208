"""The syntax of every supported Python is split and written back; what is written compiles on each of them."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from patcher.codemods import Applied, Refused
from patcher.codemods.chunks import InvalidSyntax, bindings_of, lines, split
from tests.codemods.heads import NORBERT, head_file, only_the_cap_goes
from tests.codemods.shapes import ACCEPTED, BESIDE
from tests.codemods.tools import find_and_remove, package_of

VERSIONS = ("3.10", "3.11", "3.12", "3.13")


@cache
def interpreter(version: str) -> str | None:
    """An interpreter of that version that starts: of the search path, or of pyenv."""
    found = [shutil.which(f"python{version}")]
    found += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for path in filter(None, found):
        said = subprocess.run([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
        if said.stdout.decode().strip() == version:
            return path
    return None


def compile_with(version: str, texts: list[str]) -> None:
    """Compile texts with an interpreter of that version, in one process. Skips where there is none."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no python{version} on the search path or in ~/.pyenv/versions")
    code = "import json, sys\nfor text in json.load(sys.stdin): compile(text, 'modeling.py', 'exec')"
    done = subprocess.run([python, "-c", code], input=json.dumps(texts).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


SYNTAX = {
    "tabs": (head_file(NORBERT, "return x").replace("    ", "\t"), "3.10"),
    "no last newline": (head_file(NORBERT, "return x").rstrip("\n"), "3.10"),
    "blanks at line ends": (head_file("y = 1   ", NORBERT, "   ", "return x\t"), "3.10"),
    "form feeds": ("\x0c\n" + head_file(NORBERT, "return x") + "\x0c\ndef f():\n    pass\n", "3.10"),
    "type comments": (head_file("y = []  # type: list[int]", NORBERT + "  # type: ignore", "return x"), "3.10"),
    "a walrus": (head_file("if (n := len(x)) > 1:", "    y = n", NORBERT, "return x"), "3.10"),
    "match": (
        head_file(
            "match x:", "    case [1, *rest] if rest:", "        y = 1", "    case _: y = 2", NORBERT, "return x"
        ),
        "3.10",
    ),
    "f-strings": (head_file("y = f'{x!r:>{10}} {{}} {len(x)=}'", NORBERT, "return x"), "3.10"),
    "positional-only parameters": (
        head_file(NORBERT, "return x") + "\n    def f(self, a, /, b=1, *, c, **d): ...\n",
        "3.10",
    ),
    "decorators": (head_file(NORBERT, "return x", top="@(lambda c: c)\ndef f(): ...\n"), "3.10"),
    "backslashes": (head_file("y = 1 + \\", "    2", NORBERT, "assert x, \\", "    'y'", "return x"), "3.10"),
    "a long line": (head_file(f"y = [{'1, ' * 7000}]", NORBERT, "return x"), "3.10"),
    "several statements on a line": (head_file("a = 1; b = 2 ;", NORBERT, "return x"), "3.10"),
    "nested functions and lambdas": (
        head_file("f = lambda t: t", "async def g(): await f(x)", NORBERT, "return x"),
        "3.10",
    ),
    "strings that look like the cap": (
        head_file(f"y = '''{NORBERT.replace('x', 'z')}'''", NORBERT, "return x"),
        "3.10",
    ),
    "except*": (head_file("try:", "    y = 1", "except* ValueError:", "    y = 2", NORBERT, "return x"), "3.11"),
    "unpacking in an index": (head_file("y = x[*x.shape]", NORBERT, "return x"), "3.11"),
    "f-strings of 3.12": (head_file('y = f"{x["a"]} {f"{"b"}"}"', NORBERT, "return x"), "3.12"),
    "generics of 3.12": (
        head_file(NORBERT, "return x", top="class Box[T]:\n    def f[S: int](self, a: S) -> T: ...\n"),
        "3.12",
    ),
    "type statements of 3.12": (head_file(NORBERT, "return x", top="type Pair[T] = tuple[T, T]\n"), "3.12"),
    "defaults of type parameters": (head_file(NORBERT, "return x", top="class Box[T = int]: ...\n"), "3.13"),
}


@cache
def rewritten_shapes() -> tuple[str, ...]:
    """What is written for every third shape of the table, and for each beside which something stays."""
    texts: list[str] = []
    for shape in [*ACCEPTED[::3], *BESIDE]:
        outcomes = find_and_remove(package_of(shape.package(), shape.settings()))
        assert not isinstance(outcomes, Refused), outcomes
        texts += [one.code.decode() for one in outcomes.values() if isinstance(one, Applied)]
    return tuple(texts)


@cache
def rewritten_syntax(name: str) -> str:
    """What is written for one row of SYNTAX."""
    return only_the_cap_goes(SYNTAX[name][0])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_compiles_on_every_python_that_is_supported(version: str) -> None:
    texts = rewritten_shapes()
    assert len(texts) > 50
    for text in texts:
        ast.parse(text, feature_version=(3, 10))
    known = [name for name, (_, since) in SYNTAX.items() if VERSIONS.index(since) <= VERSIONS.index(version)]
    compile_with(version, [*texts, *map(rewritten_syntax, known)])


@pytest.mark.parametrize("name", SYNTAX)
def test_the_syntax_of_every_python_survives(name: str) -> None:
    assert rewritten_syntax(name)


def test_the_texts_of_the_chunks_are_the_file_and_each_knows_the_lines_above_it() -> None:
    text = "# top\n\nimport a; b = 1\n# of f\ndef f():\n    pass\n    # of f as well\n\n# tail\n"
    chunks = split(text)
    assert "".join(chunk.text for chunk in chunks) == text
    assert [(len(chunk.statements), chunk.above, chunk.line_count) for chunk in chunks] == [
        (2, 0, 3),
        (1, 3, 4),
        (0, 7, 2),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = (\n", "line 1"), ("x = 1\ny = = 2\n", "line 2"), ("(" * 300, "")],
)
def test_what_is_no_python_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidSyntax, match=message):
        split(text)


def test_a_form_feed_ends_no_line() -> None:
    assert lines("a\x0cb\r\nc\n") == ["a\x0cb\r\n", "c\n"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import a.b, c as d", [("a", "a"), ("d", "c")]),
        ("from ..a import b as c, d", [("c", "..a.b"), ("d", "..a.d")]),
        ("from . import a", [("a", ".a")]),
        ("from a import *", []),
        ("global a, b", [("a", "a"), ("b", "b")]),
        ("def f(a): ...", [("f", "f")]),
    ],
)
def test_the_names_that_a_statement_binds(code: str, names: list[tuple[str, str]]) -> None:
    assert list(bindings_of(ast.parse(code).body[0])) == names


@pytest.mark.parametrize("text", ["x = 1\0", "x = '\0'\n"], ids=["outside of a string", "in a string"])
def test_a_nul_byte_is_no_python(text: str) -> None:
    with pytest.raises(InvalidSyntax, match="NUL"):
        split(text)
