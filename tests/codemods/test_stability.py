"""Nothing but the cap changes, whatever the encoding, the line ends and the version of Python."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from patcher.codemods import Applied, Code
from patcher.errors import CodeError
from patcher.planning.rewriting import rewrite_code
from tests.codemods.shapes import ACCEPTED, BESIDE, SIGNED_CAPS
from tests.codemods.tools import HOME, assert_only_intended, find_and_remove, package_of, run

MARK = "splade-patcher: removed"
CAP = "x = 30 * torch.sigmoid(x / 7.5)"
AUTO_MAP = {"auto_map": {"AutoModelForMaskedLM": "modeling.Head"}}
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


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_compiles_on_every_python_that_is_supported(version: str) -> None:
    texts = []
    for shape in [*ACCEPTED[::3], *BESIDE]:
        outcomes = find_and_remove(package_of(shape.package(), shape.settings()))
        texts += [one.code.decode() for one in outcomes.values() if isinstance(one, Applied)]
    assert len(texts) > 50
    for text in texts:
        ast.parse(text, feature_version=(3, 10))
    compile_with(version, texts)


def head(*lines: str, top: str = "") -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"import torch\n{top}class Head(Model):\n    def forward(self, x):\n{body}"


def only_the_cap_goes(code: str | bytes, encoding: str = "utf-8") -> str:
    """The new text: every line but that of the cap is the same, byte for byte, and a second run changes nothing."""
    before = code.encode(encoding) if isinstance(code, str) else code
    outcome = run("soft_cap", before)
    assert isinstance(outcome, Applied), outcome
    old, new = before.split(b"\n"), outcome.code.split(b"\n")
    assert len(old) == len(new)
    changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    assert len(changed) == 1 and CAP.encode() in changed[0][0] and MARK.encode() in changed[0][1]
    text = Code(HOME, outcome.code, {}).text
    assert_only_intended(before.decode(encoding), text, outcome.spans, HOME)
    assert not isinstance(run("soft_cap", outcome.code), Applied)
    return text


@pytest.mark.parametrize(
    ("first", "encoding"),
    [
        ("# -*- coding: latin-1 -*-\n# blåbær\n", "latin-1"),
        ("#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\n# blåbær €\n", "cp1252"),
        ("# Sámegiella, 日本語 ✓\n", "utf-8"),
        ("# blåbær\n", "utf-8-sig"),
        ("# -*- coding: utf-8 -*-\n# blåbær\n", "utf-8-sig"),
    ],
)
def test_encodings_and_a_byte_order_mark_survive(first: str, encoding: str) -> None:
    only_the_cap_goes(first + head(CAP, "return x"), encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_in_which_python_reads_no_source_is_refused(encoding: str) -> None:
    with pytest.raises(CodeError) as caught:
        rewrite_code({"modeling.py": head(CAP, "return x").encode(encoding)}, AUTO_MAP)
    assert "\n" not in caught.value.message and caught.value.hint


def test_line_ends_of_old_macs_are_refused() -> None:
    with pytest.raises(CodeError, match="byte for byte"):
        run("soft_cap", head(CAP, "return x").replace("\n", "\r").encode())


@pytest.mark.parametrize("ends", [("\r\n", "\r\n"), ("\n", "\r\n"), ("\r\n", "\n")])
def test_line_ends_survive_mixed_ones_too(ends: tuple[str, str]) -> None:
    lines = head("y = 1", CAP, "z = 2", "return x").split("\n")
    only_the_cap_goes("".join(line + ends[i % 2] for i, line in enumerate(lines[:-1])))


SYNTAX = {
    "tabs": (head(CAP, "return x").replace("    ", "\t"), "3.10"),
    "no last newline": (head(CAP, "return x").rstrip("\n"), "3.10"),
    "blanks at line ends": (head("y = 1   ", CAP, "   ", "return x\t"), "3.10"),
    "form feeds": ("\x0c\n" + head(CAP, "return x") + "\x0c\ndef f():\n    pass\n", "3.10"),
    "type comments": (head("y = []  # type: list[int]", CAP + "  # type: ignore", "return x"), "3.10"),
    "a walrus": (head("if (n := len(x)) > 1:", "    y = n", CAP, "return x"), "3.10"),
    "match": (
        head("match x:", "    case [1, *rest] if rest:", "        y = 1", "    case _: y = 2", CAP, "return x"),
        "3.10",
    ),
    "f-strings": (head("y = f'{x!r:>{10}} {{}} {len(x)=}'", CAP, "return x"), "3.10"),
    "positional-only parameters": (head(CAP, "return x") + "\n    def f(self, a, /, b=1, *, c, **d): ...\n", "3.10"),
    "decorators": (head(CAP, "return x", top="@(lambda c: c)\ndef f(): ...\n"), "3.10"),
    "backslashes": (head("y = 1 + \\", "    2", CAP, "assert x, \\", "    'y'", "return x"), "3.10"),
    "a long line": (head(f"y = [{'1, ' * 20000}]", CAP, "return x"), "3.10"),
    "several statements on a line": (head("a = 1; b = 2 ;", CAP, "return x"), "3.10"),
    "nested functions and lambdas": (head("f = lambda t: t", "async def g(): await f(x)", CAP, "return x"), "3.10"),
    "strings that look like the cap": (head(f"y = '''{CAP.replace('x', 'z')}'''", CAP, "return x"), "3.10"),
    "except*": (head("try:", "    y = 1", "except* ValueError:", "    y = 2", CAP, "return x"), "3.11"),
    "unpacking in an index": (head("y = x[*x.shape]", CAP, "return x"), "3.11"),
    "f-strings of 3.12": (head('y = f"{x["a"]} {f"{"b"}"}"', CAP, "return x"), "3.12"),
    "generics of 3.12": (head(CAP, "return x", top="class Box[T]:\n    def f[S: int](self, a: S) -> T: ...\n"), "3.12"),
    "type statements of 3.12": (head(CAP, "return x", top="type Pair[T] = tuple[T, T]\n"), "3.12"),
    "defaults of type parameters": (head(CAP, "return x", top="class Box[T = int]: ...\n"), "3.13"),
}


@pytest.mark.parametrize("name", SYNTAX)
def test_the_syntax_of_every_python_survives(name: str) -> None:
    code, since = SYNTAX[name]
    after = only_the_cap_goes(code)
    for version in VERSIONS[VERSIONS.index(since) :]:
        if interpreter(version):
            compile_with(version, [after])


def test_a_comment_inside_what_goes_goes_with_it_and_those_around_stay() -> None:
    lines = [
        "# above",
        "x = (  # opens",
        "    30  # the scale",
        "    * torch.sigmoid(x / 7.5)",
        ")  # behind",
        "return x",
    ]
    outcome = run("soft_cap", head(*lines))
    assert isinstance(outcome, Applied)
    assert [line.strip().partition(" `")[0] for line in outcome.code.decode().splitlines()[3:]] == [
        "# above",
        "# splade-patcher: removed",
        "return x",
    ]


def test_a_signed_cap_keeps_every_byte() -> None:
    for shape in SIGNED_CAPS:
        outcomes = find_and_remove(package_of(shape.package(), shape.settings()))
        assert not any(isinstance(one, Applied) for one in outcomes.values())
