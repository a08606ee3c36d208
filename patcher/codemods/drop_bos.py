"""Makes the synthetic first row of the logits zero; an option.

In this family row i speaks of token i + 1, so a row is put in front of the logits, zeros with a constant at the bos
token. ReLU keeps that constant: the bos token is active in every SPLADE vector, whatever a training does. That adds the
same number to every dot product and a posting for every document to the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import libcst as cst

from patcher.codemods.code import MARK
from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Package
from patcher.codemods.dataflow.steps import JOINS, End, Link, LogitPath, Merge, argument_of
from patcher.codemods.nodes import last_name
from patcher.codemods.outcomes import Applied, NotNeeded, Outcome, Refused, Span
from patcher.codemods.rewrite import Replacement, rewrite
from patcher.codemods.soft_cap.find import Target, flow_of, quote_statements, too_complex
from patcher.codemods.work import TooComplex

_ZEROS = {"zeros_like", "new_zeros", "zeros"}
_POSITIONS = {1, -2}  # the dimension of the logits [batch, positions, vocabulary] along which a row is put in front


def drop_bos(package: Package, target: Target, others: Iterable[Target] = ()) -> Mapping[str, Outcome]:
    """Make the row that a class puts in front of its logits zero; what becomes of each file that has it.

    `others` are classes whose logits must not change. Refused where no such row is found, or one is not understood.
    """
    try:
        return _drop(package, target, others)
    except (TooComplex, RecursionError) as error:
        return {target.path: too_complex(package, target.name, error)}


def _drop(package: Package, target: Target, others: Iterable[Target]) -> Mapping[str, Outcome]:
    flow = flow_of(package, target)
    if flow is None or not (rows := list(_rows(flow))):
        return {target.path: _without_row(target, flow)}
    writes = list({id(one.node): one for path, _ in rows if (one := _write(path)) is not None}.values())
    paths = [path for path, _ in rows]
    unclear = [(end.frame, end.node) for path, end in rows if _write(path) is None and not _makes_zeros(end.node)]
    unclear += [(one.frame, one.node) for one in writes if not _is_understood(one, paths)]
    unclear += [(one.frame, one.node) for one in _written_later(flow)]
    unclear += [use for path in paths for use in _other_uses(path, flow, writes)]
    if unclear:
        why = f"the row in front of the logits of {target.name} is not understood"
        return {target.path: Refused("bos-row", f"{why}: {quote_statements(unclear)}")}
    constants = [one for one in writes if _constant(one) != 0]
    for other in others:
        if shared := _shared(package, other, constants):
            return {target.path: Refused("bos-row", f"{other.name} has the row of {target.name} as well: {shared}")}
    reason = f"the row in front of the logits of {target.name} is zero"
    return _applied(constants) if constants else {target.path: NotNeeded(reason)}


def _without_row(target: Target, flow: Flow | None) -> Refused:
    """The refusal of logits that no `torch.cat` puts anything beside, with what else may be such a row."""
    paths = flow.paths if flow is not None else []
    found = [(item.frame, item.node) for path in paths for item in path if isinstance(item, Merge)]
    found += flow.unknown if flow is not None else []
    if found:
        why = f"what is written into the logits of {target.name} is not understood"
        return Refused("bos-row", f"{why}: {quote_statements(found)}")
    return Refused("no-bos-row", f"{target.name} puts no row in front of its logits")


def _rows(flow: Flow) -> Iterator[tuple[LogitPath, End]]:
    """The paths, with their ends, that a `torch.cat` puts beside those of the vocabulary projection."""
    for path, end in zip(flow.paths, flow.ends, strict=True):
        if end.kind != "projection" and any(map(_is_join, path)):
            yield path, end


def _written_later(flow: Flow) -> Iterator[Merge]:
    """The assignments of positive or unknown constants into the logits themselves, which ReLU may keep."""
    for path, end in zip(flow.paths, flow.ends, strict=True):
        write = _write(path) if end.kind == "constant" and not any(map(_is_join, path)) else None
        if write is not None and ((number := _constant(write)) is None or not number <= 0):
            yield write


def _is_join(item: Any) -> bool:
    if not isinstance(item, Merge):
        return False
    node = item.node
    return isinstance(node, cst.List) or (isinstance(node, cst.Call) and last_name(node.func) in JOINS)


def _write(path: LogitPath) -> Merge | None:
    """The assignment to one index of a tensor by which a path comes in; None where it is a tensor as it was made."""
    return next((item for item in reversed(path) if isinstance(item, Merge) and not _is_join(item)), None)


def _makes_zeros(node: cst.CSTNode | None) -> bool:
    while isinstance(node, cst.Subscript):
        node = node.value
    return isinstance(node, cst.Call) and last_name(node.func) in _ZEROS


def _constant(write: Merge) -> float | None:
    """The number that an assignment writes."""
    node = write.node
    number = write.frame.number(node.value, node) if isinstance(node, cst.Assign) else None
    return number.value if number is not None else None


def _is_understood(write: Merge, paths: Sequence[LogitPath]) -> bool:
    """Whether a constant is written into zeros that become the first row along the positions."""
    node = write.node
    if _constant(write) is None or not isinstance(node, cst.Assign) or len(node.targets) != 1:
        return False
    target = node.targets[0].target
    if not isinstance(target, cst.Subscript) or not isinstance(target.value, cst.Name):
        return False
    merges = (item for path in paths if write in path for item in path if isinstance(item, Merge))
    joins = {id(item.node): item for item in merges if _is_join(item)}
    if len(joins) != 1 or not _is_in_front(*joins.values()):
        return False
    made, is_definite = write.frame.body.reaching_definitions(target.value.value, node)
    whole = [one for one in made if not one.partial]
    return is_definite and len(whole) == 1 and _makes_zeros(whole[0].value)


def _other_uses(path: LogitPath, flow: Flow, writes: Sequence[Merge]) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Where the names of a row stand beside the assignments that are known: a call there may write into it."""
    known = {id(one.node) for one in writes} | flow.statements
    joined = next(index for index, item in enumerate(path) if _is_join(item))
    for link in (item for item in path[joined:] if isinstance(item, Link)):
        body = link.frame.body
        for use in body.names(link.definition.name):
            if id(use) not in flow.used and id(body.statement(use)) not in known:
                yield link.frame, use


def _is_in_front(join: Merge) -> bool:
    """Whether a `torch.cat` puts a tensor in front of others, along the positions."""
    call = join.node
    if not isinstance(call, cst.Call):
        return False
    tensors = argument_of(call, "tensors", 0)
    if not isinstance(tensors, (cst.List, cst.Tuple)) or tensors.elements[0].value is not join.part:
        return False
    dim = argument_of(call, "dim", 1) or argument_of(call, "axis", 1)
    number = join.frame.number(dim, call) if dim is not None else None
    return number is not None and number.value in _POSITIONS


def _shared(package: Package, other: Target, constants: Sequence[Merge]) -> str:
    """The statements of the row that are on the paths of another class's logits as well."""
    nodes, flow = {id(one.node) for one in constants}, flow_of(package, other)
    found = [item for path in flow.paths for item in path if isinstance(item, Merge)] if flow is not None else []
    return quote_statements([(item.frame, item.node) for item in found if id(item.node) in nodes])


def _applied(constants: Iterable[Merge]) -> dict[str, Outcome]:
    """0.0 in place of each constant, and a comment that says what stood there."""
    by_file: dict[str, list[Merge]] = {}
    for one in constants:
        by_file.setdefault(one.frame.code.path, []).append(one)
    outcomes: dict[str, Outcome] = {}
    for path, writes in by_file.items():
        code, replacements, spans = writes[0].frame.code, dict[cst.CSTNode, Replacement](), list[Span]()
        for write in writes:
            replacements[write.part] = lambda _: cst.Float("0.0")
            line = code.parent(write.node)
            if isinstance(line, cst.SimpleStatementLine):
                text = f"# {MARK} {code.source(write.part)} here made this token active in every SPLADE vector."
                replacements[line] = _commented(text)
            spans.append(code.span(write.node))
        outcomes[path] = Applied(rewrite(code, replacements), tuple(spans))
    return outcomes


def _commented(text: str) -> Replacement:
    comment = cst.EmptyLine(comment=cst.Comment(text))
    return lambda line: line.with_changes(leading_lines=[*line.leading_lines, comment])
