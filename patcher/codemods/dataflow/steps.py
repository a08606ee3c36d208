"""What a path of the logits is made of: one item for each thing that the code does to the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import libcst as cst

from patcher.codemods.dataflow.frame import Frame, Number
from patcher.codemods.dataflow.reaching import Definition

Extractor = Callable[[cst.CSTNode], cst.BaseExpression]


@dataclass(frozen=True, eq=False)
class Step:
    """One elementwise step with a number or a bounded function: `what` is mul, div, add, sub, rsub, sigmoid or tanh.

    `extract` gives what remains of the node when the step is removed; None stands for a statement that is removed as a
    whole. A `number` of None is one that can't be read from the code.
    """

    frame: Frame
    node: cst.CSTNode
    what: str
    extract: Extractor | None
    number: Number | None = None
    in_place: bool = False


@dataclass(frozen=True, eq=False)
class Link:
    """A name that carries the value: defined by `definition`, read at `use`."""

    frame: Frame
    definition: Definition
    use: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Passthrough:
    """A cast, a slice, a change of shape: it commutes with every elementwise step."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class Merge:
    """Several values become one, or the value is combined with something that is not a number."""

    node: cst.CSTNode


@dataclass(frozen=True, eq=False)
class CallEntry:
    """The value is the result of this call; the items of `frame` follow."""

    frame: Frame
    call: cst.Call


@dataclass(frozen=True, eq=False)
class CallExit:
    """The value is parameter `name` of `frame`; the items of its caller follow."""

    frame: Frame
    name: str


PathItem = Step | Link | Passthrough | Merge | CallEntry | CallExit
# From the logits backwards: the first item is what happened to them last.
LogitPath = tuple[PathItem, ...]
