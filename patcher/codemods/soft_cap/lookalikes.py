"""Finds lines that read like a cap where none was recognised, so that nobody is told that the logits are raw.

Where the walk along the logits stopped, that is any bounded function in the code that may run from there on. Where it
came to its end, it is a scaled one in a statement that the logits go through or that reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from patcher.codemods.chunks import Chunk
from patcher.codemods.code import Code
from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.nodes import definitions, last_name, walk

_BOUNDED = re.compile(
    r"sigmoid|expit|tanh|softsign|soft_?cap|logistic|^(exp|exp_|erf|erf_|atan|arctan)$", re.IGNORECASE
)
_LIMITS = {  # where the walk stopped at them
    *("clamp", "clamp_", "clip", "clip_", "softmax", "minimum", "maximum", "rsqrt", "hypot", "normalize"),
    *("logaddexp", "logsumexp", "cos", "sin", "where", "nan_to_num"),
}
_IN_DIVISORS = {"abs", "exp", "sqrt", "rsqrt", "pow", "cosh"}
_FACTORS = {"mul", "mul_", "multiply", "div", "div_", "divide", "true_divide", "addcmul", "lerp", "einsum"}
# A file without any of these has no line that reads like a cap, so no path of it has to be followed.
HINT = re.compile(
    rb"sigmoid|expit|tanh|softsign|soft_?cap|logistic|\bexp_?\b|\berf_?\b|\b(arc|a)tan\b|\babs\b|\bcl(am|i)p"
    rb"|\b(min|max)imum\b|rsqrt|hypot|\bnormalize\b|logaddexp|_hook\b",
    re.I,
)


def lookalikes(flow: Flow) -> Iterator[tuple[Code, cst.CSTNode]]:
    """The statements, each with its file."""
    frames = {frame.function: frame for frame in flow.frames}
    found = {frame.body.statement(node): frame.code for frame, node in flow.unknown if _is_limit(node)}
    for function, frame in frames.items():
        for node in walk(function.body):
            if _is_bounded(node) and not any(one.call is node for one in flow.frames):
                statement = _statement(frame.code, node)
                if flow.unknown or (_is_scaled(statement) and _is_near(flow, frame, node, statement)):
                    found.setdefault(statement, frame.code)
    for code, definition in _reachable(flow) if flow.unknown else ():
        for node in walk(definition) if definition not in frames else ():
            if _is_bounded(node):
                found.setdefault(_statement(code, node), code)
    statements = sorted(found, key=lambda one: not any(_is_of_logits(node) for node in walk(one)))
    return ((found[statement], statement) for statement in statements)


def _is_of_logits(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Name) and "logit" in node.value


def _is_limit(node: cst.CSTNode) -> bool:
    nodes = [node] if isinstance(node, cst.Call) else walk(node)
    return any(isinstance(one, cst.Call) and last_name(one.func) in _LIMITS for one in nodes)


def _is_bounded(node: cst.CSTNode) -> bool:
    """Whether a node calls a bounded function, by any name, or divides by a number that grows with x."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Divide):
        return any(isinstance(one, cst.Call) and last_name(one.func) in _IN_DIVISORS for one in walk(node.right))
    if not isinstance(node, cst.Call):
        return isinstance(node, (cst.Attribute, cst.Arg)) and _is_function(node)
    if last_name(node.func) in {"rsqrt", "rsqrt_"}:  # of a square, and of no mean as in a norm
        called = {last_name(one.func) for one in walk(node) if isinstance(one, cst.Call)}
        has_power = any(isinstance(one, cst.Power) for one in walk(node))
        return (has_power or not called.isdisjoint({"square", "pow"})) and called.isdisjoint({"mean", "sum"})
    names = (one.value for one in walk(node.func) if isinstance(one, (cst.Name, cst.SimpleString)))
    return any(_BOUNDED.search(name.strip("\"'")) for name in names)


def _is_function(node: cst.Attribute | cst.Arg) -> bool:
    """`torch.sigmoid` and an argument like it, which something else may call."""
    value = node.value if isinstance(node, cst.Arg) else node
    root = value.value if isinstance(value, cst.Attribute) else None
    name, home = last_name(value) or "", last_name(root or value)
    return "cap" in name or (home in {"torch", "F", "functional", "special"} and bool(_BOUNDED.search(name)))


def _is_scaled(statement: cst.CSTNode) -> bool:
    for node in walk(statement):
        if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, (cst.Multiply, cst.Divide)):
            return True
        if isinstance(node, cst.Call) and last_name(node.func) in _FACTORS:
            return True
    return False


def _is_near(flow: Flow, frame: Frame, node: cst.CSTNode, statement: cst.CSTNode) -> bool:
    """Whether the logits go through a statement, or a function in it reads them."""
    ends = {id(one.frame.body.statement(one.node)) for one in flow.ends if one.frame.function is frame.function}
    if id(statement) in flow.statements | ends:
        return True
    names = {one.value for one in walk(node) if isinstance(one, cst.Name)}
    reaching = (frame.body.reaching_definitions(name, frame.body.statement(node))[0] for name in names)
    return any(id(one.statement) in flow.statements for found in reaching for one in found)


def _reachable(flow: Flow) -> Iterator[tuple[Code, cst.CSTNode]]:
    """The functions, classes and assignments that the unknown statements name, and what those name in turn."""
    package = flow.frames[0].package
    homes: dict[str, dict[Chunk, Code]] = {}
    for code in package.codes.values():
        for chunk in code.chunks:
            for name, _ in chunk.bindings:
                homes.setdefault(name, {})[chunk] = code
    waiting = [(frame.code, node, frame) for frame, unknown in flow.unknown for node in _around(frame, unknown)]
    seen: set[str] = set()
    while waiting:
        code, node, frame = waiting.pop()
        yield code, node
        for name in {one.value for one in walk(node) if isinstance(one, cst.Name)} - seen:
            package.work.spend()
            seen.add(name)
            cls = frame.self_class
            values = package.assigned(cls, name) if cls is not None else []
            waiting += [(method.code, value, frame) for method, value in values if value is not None]
            for chunk, home in homes.get(name, {}).items():
                statements = home.parsed(chunk).body
                named = [one for one in definitions(statements) if one.name.value == name]
                waiting += [(home, one, frame) for one in named or statements]


def _around(frame: Frame, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The statement around a node, and those that give the functions that it calls their meaning."""
    statement = frame.body.statement(node)
    yield statement
    functions = (one.func for one in walk(statement) if isinstance(one, cst.Call))
    called = {function.value for function in functions if isinstance(function, cst.Name)}
    for name in sorted(called):
        yield from (one.statement for one in frame.body.reaching_definitions(name, statement)[0])


def _statement(code: Code, node: cst.CSTNode) -> cst.CSTNode:
    """The smallest statement around a node, in a nested function as well."""
    parents = code.locate(node)[0].parents
    while not isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement)):
        node = parents[node]
    return node
