"""What a configuration class does with an attribute before transformers' base class sets it."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from patcher.codemods.config_class import ABSENT, FROM_FILE, GIVEN, Fate, fate


def fate_of(*classes: str, **config: Any) -> Fate | None:
    """The fate of `x` in classes, of which each is the base of the one before; one without a colon is a constructor."""
    trees = []
    for text in classes:
        init = text if ":" in text else f"def __init__(self, **kwargs):\n        {text}"
        trees.append(ast.parse(f"class C(B):\n    {init}\n").body[0])
    return fate(trees, {"x"}, config)


CALL = "super().__init__(**kwargs)"


@pytest.mark.parametrize(
    ("classes", "config", "arrives", "is_open"),
    [
        ((CALL,), {}, ABSENT, True),
        ((CALL,), {"x": 1}, FROM_FILE, True),
        ((CALL, CALL), {"x": 1}, FROM_FILE, True),
        (("super().__init__()",), {"x": 1}, ABSENT, False),
        ((f"kwargs.pop('x', 1); {CALL}",), {"x": 1}, ABSENT, False),
        ((f"kwargs['x'] = 2; {CALL}",), {}, GIVEN, True),
        (("super().__init__(x=2, **kwargs)",), {}, GIVEN, True),
        ((CALL, "super().__init__(x=2, **kwargs)"), {}, GIVEN, True),
        (("y: int = 1",), {"x": 1}, FROM_FILE, True),
        (("PretrainedConfig.__init__(self, **kwargs)",), {"x": 1}, FROM_FILE, True),
    ],
)
def test_what_the_base_class_gets(classes: tuple[str, ...], config: Any, arrives: str, is_open: bool) -> None:
    found = fate_of(*classes, **config)
    assert found is not None and (found.arrives, found.is_open) == (arrives, is_open)


@pytest.mark.parametrize(
    "text", [f"{CALL}; self.x = 1", "def x(self): return 1", "self.y = 1", "@property\n    def x(self): return 1"]
)
def test_what_the_class_decides_itself_is_the_same_in_both_versions(text: str) -> None:
    assert fate_of(text) is None


def test_the_last_value_of_the_nearest_class_body_counts() -> None:
    found = fate_of("x: int = 1; x = 2", "x: int = 3")
    assert found is not None and isinstance(found.in_class, ast.Constant) and found.in_class.value == 2
