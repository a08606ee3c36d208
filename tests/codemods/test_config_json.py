"""Keys are written into config.json, and every other byte stays."""

from __future__ import annotations

import json

import pytest

from patcher.codemods.config_json import with_keys


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{\n  "a": 1\n}\n', '{\n  "a": 1,\n  "b": null,\n  "c": {}\n}\n'),
        ('{"a": 1}', '{"a": 1,"b": null,"c": {}}'),
        ("{}", '{"b": null,"c": {}}'),
        ("{\n}", '{\n"b": null,\n"c": {}\n}'),
        ('{\n\t"b" : [1, {"b": 2}],\n\t"å": "b\\" }"\n}', '{\n\t"b" : null,\n\t"å": "b\\" }",\n\t"c": {}\n}'),
        ('{"x": {"b": 1}, "c": "}", "b":true}\r\n', '{"x": {"b": 1}, "c": {}, "b":null}\r\n'),
    ],
)
def test_keys_are_replaced_or_added_at_the_end(before: str, after: str) -> None:
    assert with_keys(before.encode(), {"b": None, "c": {}}).decode() == after
    assert json.loads(after) == {**json.loads(before), "b": None, "c": {}}


def test_a_key_that_is_there_twice_is_not_written() -> None:
    with pytest.raises(ValueError, match="config"):
        with_keys(b'{"b": 1, "a": 2, "b": 3}', {"b": 3, "a": {"b": 1}, "c": float("nan")})


def test_a_section_gets_keys_in_its_own_indentation() -> None:
    before = '{\n  "a": {\n    "x": {},\n    "b": 1\n  },\n  "b": 2\n}\n'
    assert with_keys(before.encode(), {"b": 3, "c": 4}, ("a",)).decode() == (
        '{\n  "a": {\n    "x": {},\n    "b": 3,\n    "c": 4\n  },\n  "b": 2\n}\n'
    )
    assert json.loads(with_keys(before.encode(), {"b": 3}, ("a", "x")))["a"] == {"x": {"b": 3}, "b": 1}
