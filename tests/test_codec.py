"""The codec: what goes out comes back equal, and whatever has another type than its field is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import Unreadable, document, from_json, json_field, read_json, to_json


@dataclass(frozen=True)
class Inner:
    name: str = json_field(key="class")
    share: float | None = None


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner
    names: tuple[str, ...]
    pair: tuple[str, int]
    limits: Mapping[str, float]
    anything: Mapping[str, Any]
    nested: tuple[Inner, ...] = ()
    content: bytes = b""
    place: Path | None = None
    on: bool = False
    hidden: bytes = json_field(omit=True, default=b"")
    pairs: Mapping[str, str] = json_field(key="moved", default_factory=dict, write=lambda value: sorted(value))

    json_properties = ("total",)

    @property
    def total(self) -> int:
        return self.count + len(self.names)


VALUE = Outer(
    2, Inner("a", 1), ("b",), ("c", 3), {"d": 0.5}, {"e": [1, "x"]}, (Inner("f"),), b"\x00\xff", Path("g"), on=True
)


def test_what_goes_out_comes_back_equal() -> None:
    assert read_json(Outer, json.dumps({**to_json(VALUE), "moved": {}})) == VALUE


def test_fields_are_renamed_left_out_and_written_as_they_say_and_properties_follow() -> None:
    data = to_json(Outer(1, Inner("a"), (), ("c", 3), {}, {}, hidden=b"secret", pairs={"y": "1", "x": "2"}))
    assert data["inner"] == {"class": "a", "share": None}
    assert "hidden" not in data and data["moved"] == ["x", "y"] and data["total"] == 1
    assert document(Inner("a")) == {"schema_version": 1, "class": "a", "share": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": "many"}, 'expected a whole number, got "many" @ $.count'),
        ({"count": 2.5}, "expected a whole number, got 2.5 @ $.count"),
        ({"count": True}, "expected a whole number, got true @ $.count"),
        ({"count": None}, "expected a whole number, got nothing @ $.count"),
        ({"names": "abc"}, 'expected a list, got "abc" @ $.names'),
        ({"names": [1]}, "expected text, got 1 @ $.names"),
        ({"pair": ["c"]}, "expected 2 items, got 1 @ $.pair"),
        ({"limits": {"d": "low"}}, 'expected a number, got "low" @ $.limits'),
        ({"limits": []}, "expected an object, got [] @ $.limits"),
        ({"inner": 3}, "expected an object, got 3 @ $.inner"),
        ({"inner": {"class": 3}}, "expected text, got 3 @ $.inner.name"),
        ({"on": "yes"}, 'expected true or false, got "yes" @ $.on'),
        ({"content": 1}, "expected text, got 1 @ $.content"),
        ({"nested": [{}]}, "missing @ $.nested.name"),
    ],
)
def test_what_has_another_type_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        from_json(Outer, {**to_json(VALUE), "moved": {}, **change})
    assert words in str(caught.value)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(Unreadable, match=r"^missing @ \$\.count$"):
        from_json(Outer, {key: value for key, value in {**to_json(VALUE), "moved": {}}.items() if key != "count"})


@pytest.mark.parametrize("text", ["", "[", "[1]", "null", "[" * 10_000])
def test_what_is_no_object_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_json(Inner, text)


def test_a_number_that_is_whole_stays_whole() -> None:
    assert repr(from_json(Inner, {"class": "a", "share": 1}).share) == "1"


def test_what_is_written_in_a_form_of_its_own_is_not_converted_before() -> None:
    class Unknown:
        def __iter__(self) -> Any:
            raise AssertionError("looked into")

    @dataclass(frozen=True)
    class Counted:
        many: Mapping[str, str] = json_field(write=lambda _: 3)
        last: int = 1

    data = to_json(Counted(Unknown()))  # type: ignore[arg-type]
    assert list(data.items()) == [("many", 3), ("last", 1)]
