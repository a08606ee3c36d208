"""Nothing but what is replaced changes, whatever the encoding and the line ends."""

from __future__ import annotations

import re

import libcst as cst
import pytest

from patcher.codemods import Applied, Code, NotNeeded, Span
from patcher.codemods.rewrite import replaced, rewrite
from patcher.errors import CodeError
from tests.codemods.heads import MARK, NORBERT, head, head_file, only_the_cap_goes
from tests.codemods.tools import HOME, applied, run


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
    only_the_cap_goes(first + head_file(NORBERT, "return x"), encoding)


def test_line_ends_of_old_macs_are_refused() -> None:
    with pytest.raises(CodeError, match="byte for byte"):
        run("soft_cap", head_file(NORBERT, "return x").replace("\n", "\r").encode())


@pytest.mark.parametrize("ends", [("\r\n", "\r\n"), ("\n", "\r\n"), ("\r\n", "\n")])
def test_line_ends_survive_mixed_ones_too(ends: tuple[str, str]) -> None:
    lines = head_file("y = 1", NORBERT, "z = 2", "return x").split("\n")
    only_the_cap_goes("".join(line + ends[i % 2] for i, line in enumerate(lines[:-1])))


def test_windows_line_ends_survive() -> None:
    code = head(NORBERT, "return x").replace("\n", "\r\n").encode()
    after = applied("soft_cap", code)
    assert after.count("\r\n") == after.count("\n") == 4


def test_mixed_line_ends_survive() -> None:
    code = head("a = 1", NORBERT, "return x").replace("a = 1\n", "a = 1\r\n").encode()
    after = applied("soft_cap", code)
    assert after.count("\r\n") == 1


def test_tabs_and_a_missing_last_newline_survive() -> None:
    code = b"class Head(Model):\n\tdef forward(self, x):\n\t\tx = 30 * torch.sigmoid(x / 7.5)\n\t\treturn x"
    after = applied("soft_cap", code)
    assert after == f"class Head(Model):\n\tdef forward(self, x):\n\t\t{MARK.format(NORBERT)}\n\t\treturn x"


def test_comments_in_any_script_and_a_form_feed_survive() -> None:
    code = "# Sámegiella, blåbærsyltetøy, 日本語\n\x0c\n" + head("# før", NORBERT, "# etter ✓", "return x")
    assert applied("soft_cap", code) == code.replace(f"        {NORBERT}\n", f"        {MARK.format(NORBERT)}\n")


def test_a_declared_encoding_is_kept() -> None:
    code = ("# -*- coding: latin-1 -*-\n# blåbær\n" + head(NORBERT, "return x")).encode("latin-1")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Applied)
    assert "blåbær".encode("latin-1") in outcome.code


def test_each_node_is_replaced_and_its_line_is_told() -> None:
    code = Code(HOME, b"a = 1\n\nb  =  2 # two\n", {})
    values = [node.value for node in code.nodes(cst.Assign, re.compile(""))]
    outcome = replaced(code, {value: lambda old: cst.Integer(old.value + "0") for value in values}, "nothing")
    assert outcome == Applied(b"a = 10\n\nb  =  20 # two\n", (Span(1, 1), Span(3, 3)))


def test_nothing_to_replace_is_not_needed_for_the_reason_given() -> None:
    assert replaced(Code(HOME, b"a = 1\n", {}), {}, "there is no b") == NotNeeded("there is no b")


def test_chunks_without_a_replacement_are_never_parsed_by_libcst() -> None:
    code = Code(HOME, b"a = 1\nb = 2\n", {})
    (value,) = [node.value for node in code.nodes(cst.Assign, re.compile("b"))]
    assert rewrite(code, {value: lambda _: cst.Name("c")}) == b"a = 1\nb = c\n"
    assert [chunk.is_parsed for chunk in code.chunks] == [False, True]
