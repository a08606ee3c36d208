"""One call of a function: what the names in it mean, which numbers they stand for, and what it calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.known import Constants
from patcher.codemods.dataflow.package import Class, Definition, External, Function, Package, Value
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.dataflow.reaching import Definition as Reached
from patcher.codemods.nodes import dotted, is_name, last_name

_DEPTH = 16  # constants defined by constants; also ends a definition that refers to itself
# Base classes of other packages that have no layers of their own.
_WITHOUT_LAYERS = {"Module", "PreTrainedModel", "GenerationMixin", "object", "ABC", "PyTorchModelHubMixin"}
# What these give is the function that they get.
_WRAPPERS = {"torch.compile", "torch.compiler.disable", "torch._dynamo.disable", "torch.jit.script"}
_NOWHERE = cst.FunctionDef(cst.Name("_"), cst.Parameters(), cst.IndentedBlock([]))
Argument = tuple[cst.BaseExpression, "Frame", cst.CSTNode]


@dataclass(frozen=True)
class Instance:
    """An object that a call of a class makes: `LMHead(hidden, 30.0)`, `nn.Sigmoid()`."""

    cls: Class | External
    call: cst.Call
    frame: Frame


Meaning = Class | Function | External | Instance


@dataclass(frozen=True, eq=False)
class Frame(Constants):
    """A function that is called: its body, the object it belongs to, and what its parameters are bound to.

    `owner` is the class that defines the function, `self_class` the class of the object, `instance` its construction.
    """

    package: Package
    code: Code
    function: cst.FunctionDef
    owner: Class | None = None
    self_class: Class | None = None
    instance: Instance | None = None
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    call: cst.Call | None = None
    depth: int = 0

    @classmethod
    def of_file(cls, package: Package, code: Code) -> Frame:
        """A frame in which names mean what they mean at the top level of a file."""
        return cls(package, code, _NOWHERE)

    @cached_property
    def body(self) -> Body:
        """The function's body, with the definitions that reach each of its names."""
        return self.package.body(self.function)

    def enter(
        self, target: Function, call: cst.Call, at: cst.CSTNode, self_class: Class | None, instance: Instance | None
    ) -> Frame:
        """The frame of a function that this one calls at a statement."""
        bound: dict[str, Argument] = {}
        for preset, frame, place in (*target.presets, (call, self, at)):
            given = preset.args[1:] if preset is not call else call.args
            bound |= frame._bind(target, given, place, {*bound})
        depth = self.depth + 1
        return Frame(self.package, target.code, target.node, target.owner, self_class, instance, bound, call, depth)

    def _bind(
        self, target: Function, given: Sequence[cst.Arg], at: cst.CSTNode, bound_before: Collection[str] = ()
    ) -> dict[str, Argument]:
        """The argument of each parameter; empty where there are starred arguments."""
        if any(argument.star for argument in given):
            return {}
        params = target.node.params
        names = [p.name.value for p in (*params.posonly_params, *params.params)]
        if target.owner is not None and not is_static(target.node) and not target.explicit_self:
            names = names[1:]
        names = [name for name in names if name not in bound_before]
        bound: dict[str, Argument] = {}
        for argument in given:
            name = argument.keyword.value if argument.keyword is not None else next(iter(names), None)
            names = [one for one in names if one != name]
            if name is not None:
                bound[name] = (argument.value, self, at)
        return bound

    def in_init(self, init: Function) -> Frame:
        """The frame of an `__init__` of this object, with its arguments where that is the one that constructed it."""
        frame = Frame(self.package, init.code, init.node, init.owner, self.self_class, depth=self.depth + 1)
        own = self.package.method(self.self_class, "__init__") if self.self_class is not None else None
        if self.instance is None or own is None or own.node is not init.node:
            return frame
        call, caller = self.instance.call, self.instance.frame
        return replace(frame, arguments=caller._bind(init, call.args, caller.body.statement(call)), call=call)

    def meaning(self, node: cst.BaseExpression, at: cst.CSTNode, depth: int = 0) -> Meaning | None:
        """What a function expression stands for at a statement; None where that is not certain."""
        if depth > _DEPTH:
            return None
        self.package.work.spend(1, self.function)
        if isinstance(node, cst.Call):
            return self._made(node, at, depth)
        if isinstance(node, cst.IfExp):  # `Head(config) if with_head else None`
            arms = [self.meaning(arm, at, depth + 1) for arm in (node.body, node.orelse) if not is_name(arm, "None")]
            return arms[0] if len(arms) == 1 else None
        if isinstance(node, cst.Attribute):
            if self.is_self(node.value):
                return self._class(node) or self._member(node.attr.value, depth)
            if cls := self._class(node.value):
                return self._unbound(cls, node.attr.value)
            if isinstance(node.value, cst.Attribute) and self.is_self(node.value.value):
                return self._member_of(self._member(node.value.attr.value, depth), node.attr.value, depth)
            if isinstance(node.value, cst.Call) and dotted(node.value.func) == "super":
                if self.self_class is None or self.owner is None:
                    return None
                return self.package.method(self.self_class, node.attr.value, after=self.owner)
            name = dotted(node)
            root = name.partition(".")[0] if name is not None else ""
            set_here = self.body.reaching_definitions(root, at)[0]
            if name is None or root in self.parameters or (set_here and not _imported(set_here)):
                return None  # a method of some value
        if isinstance(node, cst.Name):
            if self.body.comprehension(node) is not None:
                return None
            found, is_definite = self.body.reaching_definitions(node.value, at)
            if found and not _imported(found):
                value = found[0].value if len(found) == 1 and is_definite and not found[0].iterated else None
                return self.meaning(value, found[0].statement, depth + 1) if value is not None else None
            if node.value in self.parameters:
                bound = self.arguments.get(node.value)
                return bound[1].meaning(bound[0], bound[2], depth + 1) if bound else None
        return self._named(node, depth)

    def _made(self, node: cst.Call, at: cst.CSTNode, depth: int) -> Meaning | None:
        """What a call gives: an object of a class, or the function that it wraps."""
        if cls := self._class(node):
            return cls
        made = self.meaning(node.func, at, depth + 1)
        wrapped = node.args[0].value if node.args and not node.args[0].star and not node.args[0].keyword else None
        if isinstance(made, External) and made.name in _WRAPPERS:
            return self.meaning(wrapped, at, depth + 1) if wrapped is not None else made
        if isinstance(made, External) and made.name == "functools.partial":
            inner = self.meaning(wrapped, at, depth + 1) if wrapped is not None else None
            is_plain = isinstance(inner, Function) and not any(one.star for one in node.args)
            return replace(inner, presets=(*inner.presets, (node, self, at))) if is_plain else None  # type: ignore
        return Instance(made, node, self) if isinstance(made, (Class, External)) else None

    def _class(self, node: cst.CSTNode) -> Class | None:
        """The class that `type(self)`, `self.__class__` and the name of a class at the top level stand for."""
        if isinstance(node, cst.Call) and is_name(node.func, "type") and len(node.args) == 1:
            return self.self_class if self.is_self(node.args[0].value) else None
        if isinstance(node, cst.Attribute) and self.is_self(node.value):
            return self.self_class if node.attr.value == "__class__" else None
        if not isinstance(node, cst.Name) or node.value in self.parameters or node.value in self.body.binds:
            return None
        return self.package.class_of(self.code, node)

    def _unbound(self, cls: Class, name: str) -> Meaning | None:
        """A method through its class: `Head.forward`, `type(self).cap`."""
        method = self.package.method(cls, name)
        if method is None:
            bound = self.package.class_value(cls, name)
            return outside(self.package, bound, 1) if bound is not None else None
        kinds = {dotted(item.decorator) for item in method.node.decorators}
        return replace(method, explicit_self=not kinds & {"staticmethod", "classmethod"})

    def is_self(self, node: cst.CSTNode) -> bool:
        """Whether a node is the name of the object itself, `self`."""
        params = self.function.params
        first = next(iter((*params.posonly_params, *params.params)), None)
        is_method = self.owner is not None and not is_static(self.function)
        return is_method and first is not None and is_name(node, first.name.value)

    @cached_property
    def parameters(self) -> Mapping[str, cst.Param]:
        """The parameters by name, without *args and **kwargs."""
        params = self.function.params
        listed = [*params.posonly_params, *params.params, *params.kwonly_params]
        return {param.name.value: param for param in listed}

    def is_projection(self, meaning: Meaning | None, node: cst.BaseExpression, at: cst.CSTNode) -> bool:
        """Whether a function expression is a linear layer, or a layer that the class has from a base of other files."""
        if isinstance(meaning, Instance) and isinstance(meaning.cls, External):
            root, _, name = meaning.cls.name.rpartition(".")
            return root.partition(".")[0] in {"torch", "transformers"} and "Linear" in name
        bases = self._bases_of_member(node) if meaning is None else []
        return any(base.rpartition(".")[2] not in _WITHOUT_LAYERS for base in bases)

    def is_loss_function(self, node: cst.BaseExpression) -> bool:
        """Whether a function expression is the `self.loss_function` that transformers gives every model."""
        cls, name = self.self_class, "loss_function"
        if cls is None or last_name(node) != name or self.package.is_changed(name, cls):
            return False
        bases = self._bases_of_member(node) if self.package.class_value(cls, name) is None else []
        return any(base.startswith("transformers.") for base in bases)

    def _bases_of_member(self, node: cst.BaseExpression) -> list[str]:
        """The bases of other files that a member of `self` may come from; none where a class of these files sets it."""
        first, _, name = (dotted(node) or "").partition(".")
        name = name.partition(".")[0]
        if not name or self.self_class is None or not self.is_self(cst.Name(first)):
            return []
        known = self.package.assigned(self.self_class, name) or self.package.method(self.self_class, name)
        return [] if known else self.package.unknown_bases(self.self_class)

    def is_weight(self, node: cst.Attribute) -> bool:
        """Whether a dotted name is an attribute of the object that nothing but its `__init__` assigns."""
        first, _, name = (dotted(node) or "").partition(".")
        name = name.partition(".")[0]
        if not name or self.self_class is None or not self.is_self(cst.Name(first)) or name in {"training", "config"}:
            return False
        set_in = [method.node.name.value for method, _ in self.package.assigned(self.self_class, name)]
        return set(set_in) == {"__init__"} and self.package.method(self.self_class, name) is None

    def kind_of_name(self, name: str, *, is_local: bool) -> str:
        """The kind of `End` that a name is where it has no known value; `is_local` if it has one on other paths."""
        if name in {"None", "True", "False"} or isinstance(self.package.top_level(self.code, name), Value):
            return "constant"
        if name in self.parameters:
            default = self.parameters[name].default
            is_known = self.call is not None and not any(argument.star for argument in self.call.args)
            return "input" if self.call is None else "constant" if is_known and default is not None else "unknown"
        stars = (self.function.params.star_arg, self.function.params.star_kwarg)
        is_star = any(isinstance(one, cst.Param) and one.name.value == name for one in stars)
        return "unbound" if is_local or (not is_star and self.code.is_unbound(name)) else "unknown"

    def kind_of_callee(self, node: cst.BaseExpression, at: cst.CSTNode) -> str:
        """`unbound` for the name of a function that is defined nowhere, so that no run gets past the call."""
        is_name = isinstance(node, cst.Name) and not self.body.reaching_definitions(node.value, at)[0]
        kind = self.kind_of_name(node.value, is_local=False) if is_name else ""  # type: ignore[attr-defined]
        return kind if kind == "unbound" else "unknown"

    def _member(self, name: str, depth: int) -> Meaning | None:
        if self.self_class is None:
            return None
        if method := self.package.method(self.self_class, name):
            return method
        bound = self.package.attribute(self.self_class, name)
        if isinstance(bound, Value):
            return outside(self.package, bound, depth + 1)
        if bound is None or not self.package.is_tied(name):
            return None
        init, value = bound
        frame = self.in_init(init)
        return frame.meaning(value, frame.body.statement(value), depth + 1)

    def _member_of(self, made: Meaning | None, name: str, depth: int) -> Meaning | None:
        """What `self.head.name` means, where `self.head` is an object of a class of the package."""
        if not isinstance(made, Instance) or not isinstance(made.cls, Class):
            return None
        init = self.package.method(made.cls, "__init__")
        if init is None:
            return self.package.method(made.cls, name)
        inner = Frame(self.package, init.code, init.node, init.owner, made.cls, made, depth=self.depth + 1)
        return inner._member(name, depth + 1)

    def _named(self, node: cst.BaseExpression, depth: int) -> Meaning | None:
        """What a name means at the top level of the file."""
        names = self.code.full_names(node)
        if not names:  # a star import, or undefined: the name as written may still be of torch
            name = dotted(node)
            return External(name) if name is not None and name.startswith("torch.") else None
        found = [self.package.definition(self.code, name) for name in names]
        if any(one != found[0] for one in found[1:]):
            return None
        return _means(self.package, found[0], depth)


def called(
    frame: Frame, meaning: Meaning | None, node: cst.Call
) -> tuple[Function | None, Class | None, Instance | None]:
    """The function that a call runs, the class of its `self`, and the object it belongs to."""
    if isinstance(meaning, Function) and meaning.explicit_self:
        first = node.args[0].value if node.args and not node.args[0].star and not node.args[0].keyword else None
        if first is None:
            return None, None, None
        if frame.is_self(first):
            return meaning, frame.self_class, frame.instance
        made = frame.meaning(first, frame.body.statement(node))
        known = isinstance(made, Instance) and isinstance(made.cls, Class)
        return (meaning, made.cls, made) if known else (None, None, None)  # type: ignore
    if isinstance(meaning, Function):
        same = meaning.owner is not None
        return meaning, frame.self_class if same else None, frame.instance if same else None
    if isinstance(meaning, Instance) and isinstance(meaning.cls, Class):
        return frame.package.method(meaning.cls, "forward"), meaning.cls, meaning
    return None, None, None


def _imported(found: Sequence[Reached]) -> bool:
    """Whether a name of a function is bound by an import in it, and by nothing else."""
    return len(found) == 1 and isinstance(found[0].statement, (cst.Import, cst.ImportFrom))


def is_static(function: cst.FunctionDef) -> bool:
    """Whether a function is a static method."""
    return any(dotted(item.decorator) == "staticmethod" for item in function.decorators)


def outside(package: Package, value: Value, depth: int) -> Meaning | None:
    """What a function bound at the top level of a file or in a class body stands for: `squash = torch.sigmoid`."""
    if depth > _DEPTH:
        return None
    if isinstance(value.node, cst.Call):
        frame = Frame.of_file(package, value.code)
        made = frame.meaning(value.node, frame.function, depth + 1)
        return made if isinstance(made, Function) else None  # an object may be changed by other code
    found = [package.definition(value.code, name) for name in value.code.full_names(value.node)]
    return _means(package, found[0], depth + 1) if len(found) == 1 else None


def _means(package: Package, found: Definition | None, depth: int) -> Meaning | None:
    return outside(package, found, depth + 1) if isinstance(found, Value) else found
