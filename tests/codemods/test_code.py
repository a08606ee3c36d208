"""Names and lines of a file that is parsed chunk by chunk are those that LibCST gives for the whole file."""

from __future__ import annotations

import libcst as cst
import pytest
from libcst.metadata import (
    ExpressionContext,
    ExpressionContextProvider,
    MetadataWrapper,
    PositionProvider,
    ScopeProvider,
)

from patcher.codemods import Code
from patcher.codemods.nodes import walk
from patcher.errors import CodeError
from patcher.planning.rewriting import rewrite_code
from tests.codemods.heads import NORBERT, head_file

SOURCE = '''\
"""A file with every kind of binding."""
import torch, torch.nn.functional as F
import collections.abc
from torch import nn, sigmoid as squash
from . import heads
from ..base import Base as Root; from .heads import Head

SCALE, T = 30.0, 7.5
first = second = SCALE

try:
    from flash_attn import attend
except ImportError:
    attend = None
if T:
    import torch.special
    def branch(): return torch.special.expit(T)


@torch.jit.script
def cap(x, *args, scale=SCALE, **kwargs):
    from torch import tanh as squash
    def inner(y):
        nonlocal x
        return squash(y) + x + F.relu(scale) + kwargs["T"]
    return [squash(one) for one in args] + [F.pad(two) for two in (lambda t: squash(t))(inner)], collections.abc.Mapping


class Model(Root, heads.Base):
    squash = squash
    table: dict[str, nn.Module] = {"cap": cap, "print": print}

    def forward(self, h, F=None):
        global T, CHANGED
        CHANGED = T = h
        with torch.no_grad() as guard, attend(
            h, Head
        ):
            x = self.head(h)  # a comment
        for i in range(len(x)):
            F.relu(i, guard, unknown)
        if (n := squash(x)) and branch():
            return n; second
        return cap(nn.functional.relu(x), CHANGED).float()
'''


def nodes(module: cst.Module) -> list[cst.CSTNode]:
    """Statements, expressions and comments in the order of the file, without names that are no expressions."""
    kinds = (cst.BaseExpression, cst.BaseStatement, cst.BaseSmallStatement, cst.Comment)
    hidden: set[cst.CSTNode | None] = set()
    for node in walk(module):
        if isinstance(node, (cst.Import, cst.ImportFrom)):
            hidden |= set(walk(node)) - {node}
        elif isinstance(node, (cst.Attribute, cst.Arg)):
            hidden.add(node.attr if isinstance(node, cst.Attribute) else node.keyword)
    return [node for node in walk(module) if isinstance(node, kinds) and node not in hidden]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_and_lines_are_those_of_libcst(end: str) -> None:
    code = Code("modeling.py", SOURCE.replace("\n", end).encode(), {})
    wrapper = MetadataWrapper(cst.parse_module(code.text), unsafe_skip_copy=True)
    scopes, positions = wrapper.resolve(ScopeProvider), wrapper.resolve(PositionProvider)
    contexts = wrapper.resolve(ExpressionContextProvider)
    ours = [node for chunk in code.chunks for node in nodes(code.parsed(chunk))]
    theirs = nodes(wrapper.module)
    assert len(ours) == len(theirs) > 150
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        assert (code.span(one).first, code.span(one).last) == (positions[other].start.line, positions[other].end.line)
        if contexts.get(other) is ExpressionContext.LOAD and other in scopes:  # a nonlocal statement has no scope
            expected = {full.name for full in scopes[other].get_qualified_names_for(other)}
            assert code.full_names(one) == expected, code.source(one)


AUTO_MAP = {"auto_map": {"AutoModelForMaskedLM": "modeling.Head"}}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_in_which_python_reads_no_source_is_refused(encoding: str) -> None:
    with pytest.raises(CodeError) as caught:
        rewrite_code({"modeling.py": head_file(NORBERT, "return x").encode(encoding)}, AUTO_MAP)
    assert "\n" not in caught.value.message and caught.value.hint


def test_a_definition_below_a_condition_at_the_top_level_is_found() -> None:
    code = Code(
        "a.py", b"if True:\n    class Head: ...\ntry:\n    import f\nexcept ImportError:\n    def f(): ...\n", {}
    )
    assert code.definition(cst.ClassDef, "Head") is not None and code.definition(cst.FunctionDef, "f") is not None
    assert code.is_bound_once("Head") and not code.is_bound_once("f")
    assert code.is_unbound("g") and not code.is_unbound("len")
