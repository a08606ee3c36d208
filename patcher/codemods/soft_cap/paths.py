"""Says which lines keep the removal of a cap from being right in every mode in which a model runs.

Every path of the logits has to lead back to the vocabulary projection, in training and in evaluation, with labels and
without them, for a text of any length. On it are the cap, casts and slices, and inside of the cap arithmetic; anything
else may bound the logits or set them to 0. A constant may come in only as one row of a `torch.cat`, or under a
mask that the inputs alone decide. Where some paths have no cap, only the configuration may choose between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import libcst as cst

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import External, Value
from patcher.codemods.dataflow.steps import (
    CONSTANTS,
    JOINS,
    PASSTHROUGHS,
    CallEntry,
    End,
    Link,
    LogitPath,
    Merge,
    Obstacle,
    Passthrough,
    Step,
    argument_of,
)
from patcher.codemods.nodes import children, dotted, is_name, last_name
from patcher.codemods.soft_cap.recognition import Cap

_UNKNOWN = "can't be followed back to the vocabulary projection"
_CONSTANT = "puts constants among the logits"
_CHOICE = "decides whether the logits are capped, and not by the configuration alone"
_MASK = "selects logits by something other than the inputs"
_CONTEXT = "is a context manager that may change what runs in it"
_UNCAPPED = "combines uncapped logits with capped ones"
_ZERO = "sets logits to 0"
_OPERAND = "is not a value that logits are computed from"
# Neither a context manager of these nor a decorator changes a value that is computed in it, but for rounding.
_CONTEXTS = {"no_grad", "enable_grad", "inference_mode", "autocast", "nullcontext", "record_function"}
_MODE = re.compile(r"label|return|output|use_|kwargs|train")  # parameters that choose a mode
_MODE_ATTRIBUTES = {"training", "gradient_checkpointing"}
_OF_MASKS = PASSTHROUGHS | {"bool", "eq", "ne", "logical_not", "logical_and", "logical_or"}
_RESHAPES = {"expand", "view", "reshape"}
_OTHER_SIZES = {"expand_as", "view_as", "transpose", "permute", "movedim", "t", "squeeze", "flatten", "unflatten"}
_OF_VALUES = {"tensor", "new_tensor"}
_MAX_DEPTH = 12
_Node = tuple[Frame, cst.CSTNode]


def unclear_paths(flow: Flow, cap: Cap) -> Iterator[Obstacle]:
    """What on the paths of the logits is not understood to its end."""
    yield from (Obstacle.at(frame, node, _UNKNOWN) for frame, node in flow.unknown)
    for frame, mask, at in flow.masks:
        if (part := _unsteady(frame, mask, at, reads_inputs=True)) is not None:
            yield Obstacle.at(frame, part, _MASK)
    paths = [(path, end, _index_of(cap, path)) for path, end in zip(flow.paths, flow.ends, strict=True)]
    parts = {pair for path, _, index in paths if index is not None for pair in _merged(path)}
    for path, end, index in paths:
        yield from _of_path(path, end, index, parts)
    for end in flow.divisors:
        if end.kind == "constant":
            yield Obstacle.at(end.frame, end.node, _OPERAND)
    yield from _contexts([node for path, end, _ in paths for node in _nodes(path, end)])
    full = [(path, end, index) for path, end, index in paths if end.kind in {"projection", "input"}]
    if any(index is None for _, _, index in full):
        yield from _choices([(list(_nodes(path, end)), index is not None) for path, end, index in full])


def _index_of(cap: Cap, path: LogitPath) -> int | None:
    """Where on a path the cap is."""
    found = (i for i, item in enumerate(path) if isinstance(item, Step) and item.node is cap.bounded.node)
    return next(found, None)


def _merged(path: LogitPath) -> set[tuple[int, int]]:
    """The merges that a path goes through, each with the part that it is."""
    return {(id(item.node), id(item.part)) for item in path if isinstance(item, Merge)}


def _of_path(path: LogitPath, end: End, index: int | None, parts: set[tuple[int, int]]) -> Iterator[Obstacle]:
    """What is wrong with one path; `parts` are those of the paths that have the cap at some index."""
    zero = next((item for item in path if isinstance(item, Step) and item.number and item.number.value == 0), None)
    if zero is not None and zero.what in {"mul", "div"}:
        yield Obstacle.at(zero.frame, zero.node, _ZERO)
    if end.kind == "constant":
        if not (_is_row(path, end, parts) or _is_buffer(path, end) or _is_default(path)):
            yield Obstacle.at(end.frame, end.node, _CONSTANT)
    elif end.kind in {"weight", "statistic"}:
        inside = path[index:] if index is not None else ()
        if not any(isinstance(item, Step) and item.number is None and not item.is_bounded for item in inside):
            yield Obstacle.at(end.frame, end.node, _OPERAND)
    elif index is None and end.kind in {"projection", "input"}:
        beside = (item for item in path if isinstance(item, Merge) and (id(item.node), id(item.part)) not in parts)
        yield from (Obstacle.at(item.frame, item.node, _UNCAPPED) for item in beside)


def _is_row(path: LogitPath, end: End, parts: set[tuple[int, int]]) -> bool:
    """Whether a constant comes in as one row of its own, or where a mask says so."""
    join: Merge | None = None
    for index, item in enumerate(path):
        if not isinstance(item, Merge):
            continue
        if isinstance(item.node, cst.Call) and last_name(item.node.func) in JOINS:
            join = item
        if (id(item.node), id(item.part)) in parts:
            continue
        if item is join or isinstance(item.node, cst.List):
            return not isinstance(end.node, cst.Call) or (join is not None and _is_one_row(join, path[index:], end))
        if isinstance(item.node, cst.Call):
            return True
    return False


def _is_one_row(join: Merge, path: LogitPath, end: End) -> bool:
    """Whether a constant has the size 1 along the dimension that a call joins."""
    call = join.node
    assert isinstance(call, cst.Call)
    dim = argument_of(call, "dim", 1) or argument_of(call, "axis", 1)
    number = join.frame.number(dim, join.frame.body.statement(call)) if dim is not None else None
    if last_name(call.func) == "stack" or (dim is not None and number is None):
        return False
    index = int(number.value) if number is not None else 0
    nodes = [item.node for item in path if isinstance(item, Passthrough)]
    found = (size for node in [*nodes, end.node] if (size := _size(node, index)) is not None)
    return next(found, False)


def _size(node: cst.CSTNode, dim: int) -> bool | None:
    """Whether an expression has the size 1 along a dimension; None where it has that of what it is made from."""
    if isinstance(node, cst.Subscript):
        return _size_of_slice(node, dim)
    if not isinstance(node, cst.Call):
        return None
    name, values = last_name(node.func) or "", [item.value for item in node.args if item.keyword is None]
    if name.endswith("_like"):
        like = argument_of(node, "input", 0)
        return (_size(like, dim) if like is not None else None) or False
    if name == "unsqueeze":
        return bool(values) and _integer(values[0]) == dim
    if name in _RESHAPES | CONSTANTS - _OF_VALUES:
        given = argument_of(node, "size", 0)
        listed = values[:1] if "full" in name else values
        listed = [one.value for one in given.elements] if isinstance(given, (cst.Tuple, cst.List)) else listed
        size = listed[dim] if -len(listed) <= dim < len(listed) else None
        if name == "expand" and size is not None and _integer(size) == -1:
            return None
        return size is not None and _integer(size) == 1
    return False if name in _OTHER_SIZES | _OF_VALUES else None


def _size_of_slice(node: cst.Subscript, dim: int) -> bool | None:
    sizes: list[bool | None] = []
    slices = [item.slice for item in node.slice]
    indexes = [one.value if isinstance(one, cst.Index) else None for one in slices]
    full = next((i for i, one in enumerate(indexes) if isinstance(one, cst.Ellipsis)), None)
    if full is not None:
        slices = slices[full + 1 :] if dim < 0 else slices[:full]
    elif dim < 0:
        dim += 3  # the logits are [batch, positions, vocabulary]
    for one in slices:
        if isinstance(one, cst.Slice):
            sizes.append(None if one.lower is None and one.upper is None else _is_single(one))
        elif not isinstance(one, cst.Index) or _integer(one.value) is None:
            sizes.append(isinstance(one, cst.Index) and is_name(one.value, "None"))
    return sizes[dim] if -len(sizes) <= dim < len(sizes) else None


def _is_single(node: cst.Slice) -> bool:
    """`:1`, `0:1` and `-1:`."""
    lower = 0 if node.lower is None else _integer(node.lower)
    return lower == -1 if node.upper is None else lower == 0 and _integer(node.upper) == 1


def _integer(node: cst.BaseExpression) -> int | None:
    """The value of `1` and `-1`; None for anything else."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        value = _integer(node.expression)
        return -value if value is not None else None
    return node.evaluated_value if isinstance(node, cst.Integer) else None


def _is_default(path: LogitPath) -> bool:
    """Whether a constant takes the place of an input that is missing: `if x is None: x = 0`."""
    link = next((item for item in reversed(path) if isinstance(item, Link)), None)
    outer = link.frame.body.around(link.definition.statement) if link is not None else ()
    tests = (one.test for one in outer if isinstance(one, cst.If))
    return link is not None and any(_is_none(test, link.definition.name) for test in tests)


def _is_none(test: cst.BaseExpression, name: str) -> bool:
    """`name is None`."""
    compared = test.comparisons if isinstance(test, cst.Comparison) and is_name(test.left, name) else ()
    return len(compared) == 1 and isinstance(compared[0].operator, cst.Is) and is_name(compared[0].comparator, "None")


def _is_buffer(path: LogitPath, end: End) -> bool:
    """Whether a constant is a tensor that a loop fills with logits, item by item."""
    link = next((item for item in reversed(path) if isinstance(item, Link)), None)
    if link is None or not isinstance(end.node, cst.Call):
        return False
    body = link.frame.body
    reaching, _ = body.reaching_definitions(link.definition.name, body.statement(link.use))
    filled = [one.statement for one in reaching if one.partial]
    loops = [loop for statement in filled for loop in body.around(statement) if isinstance(loop, cst.For)]
    return bool(loops) and all(_covers(link.frame, loop) for loop in loops)


def _covers(frame: Frame, loop: cst.For) -> bool:
    """Whether a loop has no limit that the code or the configuration sets; the step of a `range` is none."""
    skipped = loop.iter.args[2].value if isinstance(loop.iter, cst.Call) and len(loop.iter.args) == 3 else None
    waiting: list[cst.CSTNode] = [loop.iter]
    while waiting:
        node = waiting.pop()
        if isinstance(node, cst.Call):
            waiting += [item.value for item in node.args if item.value is not skipped]
            waiting += [node.func.value] if isinstance(node.func, cst.Attribute) else []
        elif isinstance(node, (cst.Name, cst.Attribute)):
            if _unsteady(frame, node, loop) is None:
                return False
        elif isinstance(node, cst.Integer) and node.evaluated_value != 0:
            return False
        else:
            waiting += children(node)
    return True


def _nodes(path: LogitPath, end: End) -> Iterator[_Node]:
    """The nodes of a path, from which the conditions and contexts around it are found."""
    yield end.frame, end.node
    for item in path:
        if isinstance(item, Step):
            yield item.frame, item.node
        elif isinstance(item, Link):
            yield item.frame, item.use
            yield item.frame, item.definition.statement
        elif isinstance(item, CallEntry):
            yield item.caller, item.call


def _contexts(nodes: Sequence[_Node]) -> Iterator[Obstacle]:
    """The context managers around the nodes that may be anything."""
    for frame, node in nodes:
        for outer in frame.body.around(node):
            for item in outer.items if isinstance(outer, cst.With) else ():
                call = item.item.func if isinstance(item.item, cst.Call) else item.item
                known = frame.meaning(call, outer)
                if not isinstance(known, External) or known.name.rpartition(".")[2] not in _CONTEXTS:
                    yield Obstacle.at(frame, item.item, _CONTEXT)


def _choices(paths: Sequence[tuple[list[_Node], bool]]) -> Iterator[Obstacle]:
    """The conditions of which one arm alone has the cap, or lacks it, and that may hold in one mode and not in another.

    Each path is given by its nodes and whether it has the cap.
    """
    found: dict[cst.CSTNode, Frame] = {}
    arms: list[tuple[set[tuple[cst.CSTNode, cst.CSTNode]], bool]] = []
    for nodes, is_capped in paths:
        passed = {(outer, inner, frame) for frame, node in nodes for outer, inner in _conditions(frame, node)}
        for frame in {frame for _, _, frame in passed}:
            frame.package.work.spend(len(passed) * len(nodes), frame.function)
        found |= {outer: frame for outer, _, frame in passed}
        arms.append(({(outer, inner) for outer, inner, _ in passed}, is_capped))
    for outer, frame in found.items():
        taken = {inner for passed, _ in arms for one, inner in passed if one is outer}
        sides = [[capped for passed, capped in arms if (outer, inner) in passed] for inner in taken]
        sides.append([capped for passed, capped in arms if not any(one is outer for one, _ in passed)])
        if any(len(set(side)) == 1 for side in sides) and not _is_fixed(frame, outer):
            yield Obstacle.at(frame, outer, _CHOICE)


def _conditions(frame: Frame, node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """The conditions around a node, each with the arm that it is in."""
    inner = node
    for outer in frame.body.around(node):
        if (
            (isinstance(outer, (cst.If, cst.IfExp, cst.While)) and inner is not outer.test)
            or isinstance(outer, cst.Match)
            or (isinstance(outer, (cst.Try, cst.TryStar)) and outer.handlers)
        ):
            yield outer, inner
        inner = outer


def _is_fixed(frame: Frame, node: cst.CSTNode) -> bool:
    """Whether the configuration alone decides which arm of a condition is taken."""
    if isinstance(node, (cst.Try, cst.TryStar)):
        return False
    test = node.subject if isinstance(node, cst.Match) else node.test  # type: ignore[attr-defined]
    return _unsteady(frame, test, frame.body.statement(node)) is None


def _unsteady(
    frame: Frame, node: cst.CSTNode, at: cst.CSTNode, depth: int = 0, *, reads_inputs: bool = False
) -> cst.CSTNode | None:
    """The part of an expression that may differ between two runs of one configuration; None where nothing does.

    With `reads_inputs`, it may differ with the tensors that `forward` gets, but not with what chooses a mode.
    """

    def first(*parts: cst.CSTNode, then: cst.CSTNode = at, of: Frame = frame) -> cst.CSTNode | None:
        found = (_unsteady(of, part, then, depth + 1, reads_inputs=reads_inputs) for part in parts)
        return node if any(one is not None for one in found) else None

    frame.package.work.spend(1, frame.function)
    if depth > _MAX_DEPTH:
        return node
    if isinstance(node, (cst.BaseNumber, cst.BaseString, cst.Ellipsis)):
        return None
    if isinstance(node, cst.Comparison):
        return first(node.left, *(one.comparator for one in node.comparisons))
    if isinstance(node, (cst.BooleanOperation, cst.BinaryOperation)):
        return first(node.left, node.right)
    if isinstance(node, cst.UnaryOperation):
        return first(node.expression)
    if isinstance(node, cst.Subscript) and reads_inputs:
        parts = (part for item in node.slice for part in _bounds(item.slice))
        return first(node.value, *parts)
    if isinstance(node, cst.Call):
        if dotted(node.func) == "getattr" and frame.configuration(node.args[0].value) is not None:
            return None
        method = node.func if isinstance(node.func, cst.Attribute) else None
        known = reads_inputs and method is not None and method.attr.value in _OF_MASKS
        return first(method.value, *(item.value for item in node.args)) if known and method is not None else node
    if isinstance(node, cst.Attribute):
        return None if _is_setting(frame, node, depth) else node
    if not isinstance(node, cst.Name):
        return node
    found, is_definite = frame.body.reaching_definitions(node.value, at)
    for one in found:
        if one.value is None or one.augmented or one.partial or one.iterated or first(one.value, then=one.statement):
            return node
    if found and is_definite:
        return None
    if bound := frame.arguments.get(node.value):
        return first(bound[0], then=bound[2], of=bound[1])
    kind = frame.kind_of_name(node.value, is_local=bool(found))
    if kind == "input":
        return None if reads_inputs and not _MODE.search(node.value) else node
    value = frame.package.top_level(frame.code, node.value)
    is_steady = not isinstance(value, Value) or first(value.node) is None
    return None if kind != "unknown" and is_steady else node


def _bounds(node: cst.BaseSlice) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.Index):
        yield node.value
    elif isinstance(node, cst.Slice):
        yield from (one for one in (node.lower, node.upper, node.step) if one is not None)


def _is_setting(frame: Frame, node: cst.Attribute, depth: int) -> bool:
    """Whether an attribute is a key of the configuration, or one of the object that `__init__` sets to a constant."""
    if frame.configuration(node.value) is not None:
        return True
    if not frame.is_self(node.value) or node.attr.value in _MODE_ATTRIBUTES or frame.self_class is None:
        return False
    for method, value in frame.package.assigned(frame.self_class, node.attr.value):
        inner = frame.in_init(method)
        if method.node.name.value != "__init__" or value is None:
            return False
        if _unsteady(inner, value, inner.body.statement(value), depth + 1) is not None:
            return False
    return True
