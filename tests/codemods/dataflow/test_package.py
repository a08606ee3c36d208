"""Names of one file lead to definitions in another, and attributes to the expression that sets them."""

from __future__ import annotations

import pytest

from patcher.codemods import Refused
from patcher.codemods.dataflow.package import Class, External, Value
from tests.codemods.dataflow.functions import source
from tests.codemods.tools import HOME, package_of, run


@pytest.mark.parametrize("statement", ["self.scale, self.act = get()", "self.act += get()"])
def test_an_attribute_that_no_single_expression_sets_is_not_understood(statement: str) -> None:
    code = f"import torch\nclass Head(Model):\n    def __init__(self, config):\n        {statement}\n"
    code += "    def forward(self, x):\n        return self.act(30 * torch.sigmoid(x / 7.5))\n"
    assert isinstance(run("soft_cap", code), Refused)


FILES = {
    "modeling.py": """\
        import torch.nn as nn
        from . import parts
        from .parts.heads import Head, SCALE as S
        from ..outside import Far
        TWICE = 1
        TWICE = 2
        class Model(Head):
            act = nn.GELU
            def __init__(self):
                self.once = 1
                self.twice = 1
                self.twice = 2
            def forward(self, x): ...
            def reset(self):
                self.late = 3
        """,
    "parts/heads.py": """\
        from .base import Base
        SCALE = 30
        class Head(Base):
            def forward(self, x): ...
        """,
    "parts/base.py": "class Base:\n    def project(self, x): ...\n    def forward(self, x): ...\n",
}
PACKAGE = package_of(FILES)
CODE = PACKAGE.codes["modeling.py"]


def class_of(name: str) -> Class:
    found = PACKAGE.top_level(CODE, name)
    assert isinstance(found, Class)
    return found


def test_a_name_leads_through_relative_imports_to_its_definition() -> None:
    assert class_of("Head").code.path == "parts/heads.py"
    value = PACKAGE.top_level(CODE, "S")
    assert isinstance(value, Value) and source(value.node) == "30"


@pytest.mark.parametrize("name", ["TWICE", "Far", "parts", "unknown"])
def test_a_name_without_one_certain_definition_has_none(name: str) -> None:
    assert PACKAGE.top_level(CODE, name) is None


def test_what_is_outside_the_package_keeps_its_full_name() -> None:
    assert PACKAGE.top_level(CODE, "nn") == External("torch.nn")
    assert PACKAGE.definition(CODE, "torch.sigmoid") == External("torch.sigmoid")


def test_methods_come_from_the_nearest_base_and_super_skips_its_own() -> None:
    model, head = class_of("Model"), class_of("Head")
    assert [one.name for one in PACKAGE.lineage(model)] == ["Model", "Head", "Base"]
    found = [PACKAGE.method(model, "forward"), PACKAGE.method(model, "forward", after=head)]
    assert [one and one.owner and one.owner.name for one in found] == ["Model", "Base"]
    assert PACKAGE.method(model, "project") and PACKAGE.method(model, "other") is None


def test_an_attribute_is_what_init_assigns_once_or_the_class_body() -> None:
    model = class_of("Model")
    once, act = PACKAGE.attribute(model, "once"), PACKAGE.attribute(model, "act")
    assert isinstance(once, tuple) and source(once[1]) == "1"
    assert isinstance(act, Value) and source(act.node) == "nn.GELU"
    assert [PACKAGE.attribute(model, name) for name in ("twice", "late", "missing")] == [None] * 3


def test_attributes_that_are_set_on_other_objects_are_known() -> None:
    package = package_of({HOME: "def f(self):\n    self.head.scale = 30\n    self.own = 1\n    x.y.z == 2\n"})
    assert package.set_from_outside == {"scale"}


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("head.scale = 2", True),
        ("self.head.scale = 2", True),
        ("config.update({'scale': 2})", True),
        ("config.update(scale=2)", True),
        ("setattr(head, 'scale', 2)", True),
        ("setattr(self, f'sca{x}', 2)", True),
        ("setattr(self, name, 2)", True),
        ("self.__dict__.update(values)", True),
        ("self.__dict__['scale'] = 2", True),
        ("scale['x'] = 2", True),
        ("scale.append(2)", True),
        ("del head.scale", True),
        ("self.scale = 2", False),
        ("setattr(self, f'layer_{x}', 2)", False),
        ("setattr(self, f'{x}_table', 2)", False),
        ("setattr(self, f'{x}le', 2)", True),
        ("setattr(other, name, 2)", False),
        ("kwargs.setdefault('scale', 2)", False),
        ("x.y.z == head.scale", False),
    ],
)
def test_a_name_that_code_may_change_from_elsewhere_is_known(code: str, changed: bool) -> None:
    package = package_of({HOME: f"class Head: ...\ndef f(self, head, config, name, x):\n    {code}\n"})
    head = package.top_level(package.codes[HOME], "Head")
    assert isinstance(head, Class) and package.is_changed("scale", head) is changed


SETS_BY_NAME = """\
class Base:
    def fill(self, **kwargs):
        for name, value in kwargs.items():
            setattr(self, name, value)
class Config(Base): ...
class Head: ...
"""


@pytest.mark.parametrize(("name", "changed"), [("Base", True), ("Config", True), ("Head", False)])
def test_an_attribute_is_set_by_a_computed_name_where_the_object_has_the_method(name: str, changed: bool) -> None:
    package = package_of({HOME: SETS_BY_NAME})
    cls = package.top_level(package.codes[HOME], name)
    assert isinstance(cls, Class) and package.is_changed("scale", cls) is changed
    assert not package.is_changed("scale")


def test_a_diamond_is_resolved_as_python_does_however_often_it_is_repeated() -> None:
    lines = ["class A0:\n    def own(self): ...\n", "class B0(A0): ...\n"]
    for n in range(1, 24):
        lines += [f"class C{n}(B{n - 1}): ...\n"]
        lines += [f"class D{n}(B{n - 1}):\n    def own(self): ...\n", f"class B{n}(C{n}, D{n}): ...\n"]
    code = "".join(lines)
    package = package_of({HOME: code})
    last = package.top_level(package.codes[HOME], "B23")
    scope: dict[str, type] = {}
    exec(code, scope)
    assert isinstance(last, Class)
    assert [one.name for one in package.lineage(last)] == [one.__name__ for one in scope["B23"].__mro__[:-1]]
    found = package.method(last, "own")
    assert found is not None and found.owner is not None and found.owner.name == "D23"


def test_classes_that_inherit_from_each_other_end() -> None:
    package = package_of({HOME: "class A(B): ...\nclass B(A): ...\n"})
    first = package.top_level(package.codes[HOME], "A")
    assert isinstance(first, Class) and [one.name for one in package.lineage(first)] == ["A", "B"]
