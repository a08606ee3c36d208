"""Turns frozen dataclasses into JSON and back, and checks every field of what comes in.

Child processes and published records are read here, and both may hold anything: a value of another type than its field
is an error that names the field, never a conversion. A field says with `json_field` where its JSON differs from it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from patcher.constants import SCHEMA_VERSION

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")
_KEY, _OMIT, _WRITE = "json_key", "json_omit", "json_write"
_LISTS: tuple[Any, ...] = (tuple, list, Sequence)
_MAPPINGS: tuple[Any, ...] = (dict, Mapping)
_PLAIN: dict[Any, tuple[Any, str]] = {
    str: (str, "text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
}


class Unreadable(ValueError):
    """JSON that is not what the type asks for; says where and why."""


def json_field(
    *,
    key: str | None = None,
    omit: bool = False,
    write: Callable[[Any], Any] | None = None,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    """A dataclass field with another `key` in JSON, left out of it (`omit`), or written in a form of its own (`write`).

    What is left out, or written in a form of its own, can only be read back where it has a default.
    """
    metadata = {_KEY: key, _OMIT: omit, _WRITE: write}
    return field(default=default, default_factory=default_factory, repr=repr, compare=compare, metadata=metadata)


def to_json(value: Any) -> Any:
    """A value as objects that `json.dumps` takes.

    A dataclass becomes an object of its fields, followed by the properties that its `json_properties` names; of
    "one.other" the key is "other".
    """
    return _converter().unstructure(value)


def document(value: Any) -> dict[str, Any]:
    """The JSON document of a result: the version of its format, and the value."""
    return {"schema_version": SCHEMA_VERSION, **to_json(value)}


def json_text(data: Any) -> str:
    """JSON objects as the text of a file: indented, in UTF-8 characters. Raises ValueError for NaN and infinity."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(kind: type[T], data: Any) -> T:
    """The value of a type behind JSON objects. Raises Unreadable."""
    from cattrs import transform_error

    try:
        return _converter().structure(data, kind)
    except Exception as error:
        raise Unreadable("; ".join(transform_error(error, format_exception=_reason)[:3])) from error


def read_json(kind: type[T], text: str | bytes) -> T:
    """The value of a type behind a JSON text. Raises Unreadable."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error
    return from_json(kind, data)


@cache
def _converter() -> Converter:
    """Made when it is first needed: its library costs a tenth of the start of a command."""
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

    converter = Converter(unstruct_collection_overrides={tuple: list})

    def overrides(kind: type) -> dict[str, Any]:
        said = {one.name: one.metadata for one in fields(kind) if one.metadata}
        return {name: override(rename=one.get(_KEY), omit=one.get(_OMIT, False)) for name, one in said.items()}

    def writer(kind: Any) -> Callable[[Any], Any]:
        forms = {one.name: one.metadata for one in fields(kind) if one.metadata.get(_WRITE)}
        left = {**overrides(kind), **dict.fromkeys(forms, override(omit=True))}  # a value is written in one form only
        plain = make_dict_unstructure_fn(kind, converter, **left)
        shown = [one.metadata.get(_KEY) or one.name for one in fields(kind) if not one.metadata.get(_OMIT)]
        properties: tuple[str, ...] = getattr(kind, "json_properties", ())

        def write(value: Any) -> dict[str, Any]:
            written = {one.get(_KEY) or name: one[_WRITE](getattr(value, name)) for name, one in forms.items()}
            data = {**plain(value), **written}
            found = {name.rpartition(".")[2]: attrgetter(name)(value) for name in properties}
            return {**{key: data[key] for key in shown}, **converter.unstructure(found)}

        return write

    def reader(kind: Any) -> Callable[[Any, Any], Any]:
        structure = make_dict_structure_fn(kind, converter, **overrides(kind))
        return lambda data, _: structure(_of_type(data, Mapping, "an object"), kind)

    def plain_reader(expected: Any, words: str) -> Callable[[Any, Any], Any]:
        return lambda data, _: _of_type(data, expected, words)

    def list_reader(kind: Any) -> Callable[[Any, Any], Any]:
        items = get_args(kind) or (Any,)
        if len(items) > 2 or (len(items) == 2 and items[1] is not Ellipsis):  # a tuple of so many
            return lambda data, _: tuple(map(converter.structure, _list(data, len(items)), items))
        return lambda data, _: tuple(converter.structure(item, items[0]) for item in _list(data))

    def mapping_reader(kind: Any) -> Callable[[Any, Any], Any]:
        of = (get_args(kind) or (str, Any))[1]
        return lambda data, _: {
            _of_type(key, str, "text"): converter.structure(item, of)
            for key, item in _of_type(data, Mapping, "an object").items()
        }

    converter.register_unstructure_hook_factory(is_dataclass, writer)
    converter.register_structure_hook_factory(is_dataclass, reader)
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) in _LISTS, list_reader)
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) in _MAPPINGS, mapping_reader)
    for kind, expected in _PLAIN.items():
        converter.register_structure_hook(kind, plain_reader(*expected))
    converter.register_structure_hook(Path, lambda data, _: Path(_of_type(data, str, "text")))
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(
        bytes, lambda data, _: base64.b64decode(_of_type(data, str, "text"), validate=True)
    )
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
    return converter


def _reason(error: BaseException, _: type | None) -> str:
    return "missing" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _of_type(data: Any, expected: Any, words: str) -> Any:
    # A bool is an int to Python, and never one in JSON.
    if not isinstance(data, expected) or (isinstance(data, bool) and expected is not bool):
        found = "nothing" if data is None else json.dumps(data, default=str)[:60]
        raise ValueError(f"expected {words}, got {found}")
    return data


def _list(data: Any, length: int | None = None) -> Any:
    found = _of_type(data, (list, tuple), "a list")
    if length not in (None, len(found)):
        raise ValueError(f"expected {length} items, got {len(found)}")
    return found
