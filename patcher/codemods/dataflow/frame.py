"""One call of a function: what the names in it mean, which numbers they stand for, and what it calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.configuration import ABSENT, configured
from patcher.codemods.dataflow.numbers import NAMES, UNKNOWN, Known, Number, evaluate
from patcher.codemods.dataflow.package import Class, Definition, External, Function, Package, Value
from patcher.codemods.dataflow.reaching import Body
from patcher.codemods.dataflow.reaching import Definition as Reached
from patcher.codemods.nodes import dotted, is_name, last_name, walk

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
class Frame:
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
        first, _, name = (dotted(node) or "").partition(".")
        if meaning is not None or not name or self.self_class is None or not self.is_self(cst.Name(first)):
            return False
        name = name.partition(".")[0]
        known = self.package.assigned(self.self_class, name) or self.package.method(self.self_class, name)
        bases = self.package.unknown_bases(self.self_class)
        return not known and any(base.rpartition(".")[2] not in _WITHOUT_LAYERS for base in bases)

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

    # Numbers

    def number(self, node: cst.BaseExpression, at: cst.CSTNode) -> Number | None:
        """The number that an expression always gives, from literals, constants, arguments and config.json."""
        found = self.known(node, at)
        return found.number() if found is not None else None

    def known(self, node: cst.BaseExpression, at: cst.CSTNode, depth: int = 0) -> Known | None:
        """The value that an expression always has."""
        self.package.work.spend(1, self.function)
        if depth > _DEPTH:
            return None
        if (setting := self._setting(node, at, depth)) is not None:
            return setting if isinstance(setting, Known) else None
        if (
            isinstance(node, cst.Name)
            and node.value not in NAMES
            and (found := self._known_name(node, at, depth)) is not None
        ):
            return found
        if isinstance(node, cst.Attribute) and (found := self._known_attribute(node, at, depth)) is not None:
            return found
        if isinstance(node, cst.Subscript) and self.package.is_changed(last_name(node.value) or ""):
            return None
        return evaluate(node, lambda part: self.known(part, at, depth + 1), lambda func: self._function(func, at))

    def _function(self, node: cst.BaseExpression, at: cst.CSTNode) -> str:
        """The full name of a function or a constant of another package; of a method of a value its own name."""
        meaning = self.meaning(node, at)
        is_method = meaning is None and isinstance(node, cst.Attribute)
        return meaning.name if isinstance(meaning, External) else (last_name(node) or "") if is_method else ""

    def _known_name(self, node: cst.Name, at: cst.CSTNode, depth: int) -> Known | None:
        if self.body.comprehension(node) is not None:
            return None
        found, is_definite = self.body.reaching_definitions(node.value, at)
        if found:
            return self._known_definition(found[0], depth) if len(found) == 1 and is_definite else None
        if node.value in self.parameters:
            if bound := self.arguments.get(node.value):
                return bound[1].known(bound[0], bound[2], depth + 1)
            default = self.parameters[node.value].default
            is_known = self.call is not None and not any(argument.star for argument in self.call.args)
            return self.known(default, at, depth + 1) if default is not None and is_known else None
        return self._known_outside(node, depth)

    def _known_definition(self, one: Reached, depth: int) -> Known | None:
        if one.unpacked is not None:
            base = self.known(one.unpacked[0], one.statement, depth + 1)
            return base.item(one.unpacked[1]) if base is not None else None
        if one.value is None or one.iterated or one.partial:
            return None
        return self.known(one.value, one.statement, depth + 1)

    def _known_attribute(self, node: cst.Attribute, at: cst.CSTNode, depth: int) -> Known | None:
        name = node.attr.value
        if self.package.is_changed(name):
            return None
        if self.is_self(node.value) and self.self_class is not None:
            if (method := self.package.method(self.self_class, name)) is not None:
                inner = replace(self, code=method.code, function=method.node, owner=method.owner, depth=self.depth + 1)
                return inner.property_value(depth)
            bound = self.package.attribute(self.self_class, name)
            if not isinstance(bound, tuple):
                return self.known_value(bound, depth + 1) if bound is not None else None
            frame = self.in_init(bound[0])
            return frame.known(bound[1], frame.body.statement(bound[1]), depth + 1)
        cls = self.meaning(node.value, at) if isinstance(node.value, (cst.Name, cst.Call, cst.Attribute)) else None
        if isinstance(cls, Class):
            value = self.package.class_value(cls, name)
            return self.known_value(value, depth + 1) if value is not None else None
        return self._known_outside(node, depth)

    def _known_outside(self, node: cst.BaseExpression, depth: int) -> Known | None:
        """The value of a name that the top level of a file binds."""
        found = [self.package.definition(self.code, name) for name in self.code.full_names(node)]
        value = found[0] if len(found) == 1 else None
        is_changed = self.package.is_changed(last_name(node) or "")
        return self.known_value(value, depth + 1) if isinstance(value, Value) and not is_changed else None

    def known_value(self, value: Value, depth: int = 0) -> Known | None:
        """The value of a constant of a file or of a class body."""
        frame = Frame.of_file(self.package, value.code)
        return frame.known(value.node, frame.function, depth + 1)

    def property_value(self, depth: int = 0) -> Known | None:
        """What this function gives where it is a property that returns one expression."""
        is_property = any((last_name(one.decorator) or "").endswith("property") for one in self.function.decorators)
        returns = [node for node in walk(self.function.body) if isinstance(node, cst.Return)]
        last = returns[0] if len(returns) == 1 and is_property else None
        body = self.function.body.body
        is_last = bool(body) and isinstance(body[-1], cst.SimpleStatementLine) and last in body[-1].body
        return self.known(last.value, last, depth + 1) if last is not None and last.value and is_last else None

    def _setting(self, node: cst.BaseExpression, at: cst.CSTNode, depth: int) -> object:
        """What `self.config.scale`, `config.scale` and `getattr(config, "scale", 30)` are; None for anything else."""
        call = node if isinstance(node, cst.Call) and dotted(node.func) == "getattr" else None
        name = call.args[1].value if call is not None and 2 <= len(call.args) <= 3 else None
        key = name.evaluated_value if isinstance(name, cst.SimpleString) else None
        owner = call.args[0].value if call is not None and isinstance(key, str) else None
        if isinstance(node, cst.Attribute):
            key, owner = node.attr.value, node.value
        found = self.configuration(owner) if owner is not None else None
        if found is None or not isinstance(key, str):
            return None
        section, path = found
        if self.package.is_changed(key, of_self=False):
            return UNKNOWN
        value = configured(self.package, key, path, section, Frame)
        if value is ABSENT and call is not None and len(call.args) == 3:
            return self.known(call.args[2].value, at, depth + 1) or UNKNOWN
        return value

    def configuration(self, node: cst.BaseExpression) -> tuple[Mapping[str, Any], tuple[str, ...]] | None:
        """The part of config.json that an expression stands for, with the keys that lead to it; None if it is none.

        By the convention of transformers, `config` and `self.config` are the model's configuration.
        """
        owner = node.value if isinstance(node, cst.Attribute) and node.attr.value == "config" else None
        if is_name(node, "config") or isinstance(owner, cst.Name):
            return self.package.config, ()
        if isinstance(node, cst.Attribute):
            outer = self.configuration(node.value)
            section = outer[0].get(node.attr.value) if outer else None
            return (section, (*outer[1], node.attr.value)) if outer and isinstance(section, Mapping) else None
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and not node.args:
            outer = self.configuration(node.func.value)
            if outer and node.func.attr.value == "get_text_config":
                section = outer[0].get("text_config")
                return (section, (*outer[1], "text_config")) if isinstance(section, Mapping) else outer
        return None


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
