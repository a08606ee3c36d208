"""A name has a value where no other one is possible: that of its own scope, and none that code changes elsewhere."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, Refused
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.numbers import Known
from tests.codemods.heads import head
from tests.codemods.tools import HOME, package_of, run


def test_a_constant_of_a_file_is_read_in_its_own_scope() -> None:
    package = package_of({HOME: "A = 3\nclass Box:\n    A = 5\n    B = A\nC = A\n"})
    frame = Frame.of_file(package, package.codes[HOME])
    values = [package.top_level(frame.code, name) for name in ("A", "C")]
    assert [frame.known_value(value) for value in values] == [Known(3), Known(3)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "is_known"),
    [
        ("", True),
        ("    @scale.setter\n    def scale(self, value): ...\n", False),
        ("    def f(self):\n        setattr(self, 'scale', 9)\n", False),
        ("def f(head):\n    head.scale = 9\n", False),
    ],
)
def test_a_property_is_a_number_unless_something_sets_it(more: str, is_known: bool) -> None:
    prop = "    @property\n    def scale(self):\n        return 60 / 2\n"
    code = "import torch\n" + head("return self.scale * torch.sigmoid(x / 7.5)") + prop + more
    assert isinstance(run("soft_cap", code), Applied if is_known else Refused)
