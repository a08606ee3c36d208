"""What is read of a configuration class is what an object of it has, or nothing."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import libcst as cst
import pytest

from patcher.codemods.dataflow.configuration import ABSENT, configured
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.numbers import UNKNOWN, Known
from tests.codemods.dataflow.functions import method_frame
from tests.codemods.tools import package_of

HOME = "configuration.py"
AUTO_MAP = {"AutoConfig": "configuration.HeadConfig"}
CLASS = """\
import math
from transformers import PretrainedConfig
DEFAULT = 25.0
{top}
class HeadConfig({base}):
{members}
    def __init__(self, cap=30.0, size=4, **kwargs):
{body}
"""
SUPER = "super().__init__(**kwargs)"


def written(*body: str, members: str = "", top: str = "", base: str = "PretrainedConfig") -> str:
    """The code of a configuration class whose `__init__` has these lines."""
    return CLASS.format(top=top, base=base, members=indent(members, "    "), body=indent("\n".join(body), " " * 8))


# Each is read as transformers itself reads it, with and without the key in config.json.
EXACT = {
    "the parameter": written(SUPER, "self.cap = cap"),
    "the parameter, before the base class": written("self.cap = cap", SUPER),
    "a number in place of the parameter": written(SUPER, "self.cap = 20.0"),
    "a number that the base class overrides": written("self.soft = 20.0", SUPER, "self.cap = self.soft_cap = 20.0"),
    "a number that the parameter scales": written(SUPER, "self.cap = cap * 2"),
    "a parameter that is replaced": written(SUPER, "cap = cap / 2", "self.cap = cap"),
    "a default for null": written(SUPER, "self.cap = cap if cap is not None else DEFAULT"),
    "a default by or": written(SUPER, "self.cap = cap or 12.5"),
    "the other parameter": written(SUPER, "self.cap = math.sqrt(size)"),
    "passed to the base class": written("super().__init__(cap=cap, **kwargs)"),
    "passed to the base class as another number": written("super().__init__(cap=7 ** 2, **kwargs)"),
    "passed to a base class of the file": written(
        "super().__init__(cap=cap + 1, **kwargs)",
        top="class Base(PretrainedConfig):\n    def __init__(self, cap=5.0, **kwargs):\n"
        "        super().__init__(**kwargs)\n        self.cap = cap * 3\n",
        base="Base",
    ),
    "a default of the class": written(SUPER, members="cap = 11.0").replace("cap=30.0, ", ""),
    "set twice": written(SUPER, "self.cap = cap", "self.cap = 9.0"),
    "a property": written(SUPER, members="@property\ndef cap(self):\n    return 2 ** 5\n"),
    "beside a __post_init__": written(
        SUPER, "self.cap = cap", members="def __post_init__(self):\n    self.other = 1\n"
    ),
    "setdefault": written("kwargs.setdefault('cap', 21.0)", SUPER).replace("cap=30.0, ", ""),
    "pop": written("self.cap = kwargs.pop('cap', 22.0)", SUPER).replace("cap=30.0, ", ""),
    "get": written("self.cap = kwargs.get('cap', 23.0)").replace("cap=30.0, ", ""),
    "only in kwargs": written(SUPER).replace("cap=30.0, ", ""),
    "only in kwargs, then set": written(SUPER, "self.cap = 8.0").replace("cap=30.0, ", ""),
    "set by the names in kwargs": written(
        "self.cap = 8.0", "for k, v in kwargs.items():", "    setattr(self, k, v)"
    ).replace("cap=30.0, ", ""),
    "set by the names of other keys": written(
        SUPER, "self.cap = cap * 2", "for k, v in kwargs.items():", "    setattr(self, k, v)"
    ),
    "set, then overridden by kwargs": written("self.cap = 8.0", SUPER).replace("cap=30.0, ", ""),
}
JSON: tuple[dict[str, Any], ...] = ({}, {"cap": 16.0}, {"cap": None}, {"size": 9, "cap": 3})
# These may be more than one number, so nothing is read.
UNCERTAIN = {
    "under a condition": written(SUPER, "self.cap = cap", "if size > 8:", "    self.cap = 50.0"),
    "in a loop": written(SUPER, "for name in ('cap',):", "    setattr(self, name, 50.0)"),
    "by name": written(SUPER, "self.cap = cap", "setattr(self, 'cap', 50.0)"),
    "in the dictionary": written(SUPER, "self.cap = cap", "self.__dict__['cap'] = 50.0"),
    "in a method": written(SUPER, "self.cap = cap", "self.fill()", members="def fill(self):\n    self.cap = 50.0\n"),
    "under another name": written(SUPER, "self.soft = cap", members="attribute_map = {'cap': 'soft'}"),
    "by __getattr__": written(SUPER, members="def __getattr__(self, name):\n    return 50.0\n"),
    "read from outside": written(SUPER, "self.cap = float(open('cap').read())"),
    "a part of what is popped": written("self.cap = kwargs.pop('cap', 23.0) / 2", SUPER).replace("cap=30.0, ", ""),
    "kwargs replaced": written("kwargs = {'cap': 50.0}", SUPER).replace("cap=30.0, ", ""),
    "kwargs filled in a loop": written("for k in 'cap', 'b':", "    kwargs[k] = 50.0", SUPER).replace("cap=30.0, ", ""),
    "added to": written(SUPER, "self.cap = cap", "self.cap *= 2"),
    "the base class under a condition": written("if size:", f"    {SUPER}", "self.other = cap"),
    "an unknown base class": written(SUPER, base="Unknown", top="from other import Unknown\n"),
    "of a model": written(SUPER, "self.cap = cap") + "def build(config):\n    config.cap = 50.0\n",
    "set by changed names": written(
        SUPER, "self.cap = cap", "for k, v in kwargs.items():", "    setattr(self, k[1:], v)"
    ),
    "set to changed values": written("for k, v in kwargs.items():", "    setattr(self, k, v or 2)").replace(
        "cap=30.0, ", ""
    ),
    "set from a name": written(SUPER, "self.cap = cap", "for name in kwargs:\n    setattr(self, name, 2)"),
}


def read(code: str, config: dict[str, Any]) -> object:
    config = {**config, "auto_map": AUTO_MAP}
    package = package_of({HOME: code + "class Head:\n    def forward(self):\n        return self.config.cap\n"}, config)
    frame = method_frame(package, "Head", "forward", HOME)
    node = cst.parse_expression("self.config.cap")
    return frame.known(node, frame.function)


@pytest.mark.parametrize("name", EXACT)
def test_an_attribute_is_what_the_class_gives_it(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(EXACT[name], scope)
    for config in JSON:
        try:
            value = getattr(scope["HeadConfig"](**config), "cap", ABSENT)
        except (TypeError, AttributeError):
            continue  # no model can be made of it
        found = read(EXACT[name], config)
        assert (found.value if isinstance(found, Known) else ABSENT) == value, config
        assert value is ABSENT or (isinstance(found, Known) and found.key == ("cap",))


@pytest.mark.parametrize("name", UNCERTAIN)
def test_an_attribute_that_may_be_another_number_is_not_read(name: str) -> None:
    assert [read(UNCERTAIN[name], config) for config in JSON] == [None] * len(JSON)


def test_a_default_of_a_class_that_config_json_does_not_name_is_not_read() -> None:
    package = package_of({HOME: written(SUPER, "self.cap = cap")})
    assert configured(package, "cap", (), {}, Frame) is UNKNOWN
    assert configured(package, "other", (), {}, Frame) is ABSENT
    builtin = package_of({HOME: "a = 1\n"}, {"model_type": "gemma2"})
    assert configured(builtin, "cap", (), builtin.config, Frame) is UNKNOWN
    assert configured(builtin, "temperature", (), {}, Frame) is UNKNOWN


def test_an_attribute_that_both_versions_of_transformers_read_otherwise_is_not_read() -> None:
    late, early = written(SUPER, "self.top_k = 20"), written("self.top_k = 20", SUPER)
    for code, expected in ((late, Known(20, ("top_k",))), (early, UNKNOWN), (written(SUPER), UNKNOWN)):
        package = package_of({HOME: code}, {"auto_map": AUTO_MAP})
        assert configured(package, "top_k", (), package.config, Frame) == expected
