"""A cap that one key of config.json alone turns on: then the key is changed, and the code stays as it is."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import libcst as cst

from patcher.codemods.dataflow.flow import Op
from patcher.codemods.soft_cap.caps import Cap

Key = tuple[str, ...]


def controlling_key(cap: Cap) -> Key | None:
    """The path of the key in config.json that alone gives the numbers and alone decides whether the cap is applied.

    That is so where every step stands below `if self.config.key is not None:` (or `if self.config.key:`).
    """
    if cap.key is None or not all(_guarded(op, cap.key) for op in cap.steps):
        return None
    return cap.key


def _guarded(op: Op, key: Key) -> bool:
    body = op.frame.body
    node: cst.CSTNode = op.node
    while node is not body.function:
        parent = body.parent(node)
        if isinstance(parent, cst.If) and node is parent.body and _reads(parent.test, parent, op, key):
            return True
        if isinstance(parent, cst.IfExp) and node is parent.body:
            statement = body.statement(parent)
            if _reads(parent.test, statement, op, key):
                return True
        node = parent
    return False


def _reads(test: cst.BaseExpression, at: cst.CSTNode, op: Op, key: Key) -> bool:
    """Whether a test is true exactly where the key is a number: `key is not None`, or `key` alone."""
    if isinstance(test, cst.Comparison) and len(test.comparisons) == 1:
        part = test.comparisons[0]
        if not isinstance(part.operator, cst.IsNot) or not _is_none(part.comparator):
            return False
        test = test.left
    if isinstance(test, cst.NamedExpr):
        test = test.value
    number = op.frame.number(test, at)
    return number is not None and number.key == key


def _is_none(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def without_key(content: bytes, key: Key) -> bytes | None:
    """config.json with the key set to null and every other byte as it was; None where its place can't be told."""
    pattern = re.compile(rb'("' + re.escape(key[-1].encode()) + rb'"\s*:\s*)-?[0-9][0-9.eE+-]*')
    if len(pattern.findall(content)) != 1:
        return None
    changed = pattern.sub(rb"\1null", content)
    wanted = _set(json.loads(content), key)
    return changed if json.loads(changed) == wanted else None


def with_key(content: bytes, name: str, value: float) -> bytes:
    """config.json with one more key at its end, or a new value where it has it, and every other byte as it was."""
    config = json.loads(content)
    if name in config:
        pattern = re.compile(rb'("' + re.escape(name.encode()) + rb'"\s*:\s*)-?[0-9][0-9.eE+-]*')
        changed = pattern.sub(lambda found: found[1] + json.dumps(value).encode(), content, count=1)
    else:
        end = content.rindex(b"}")
        body = content[:end].rstrip()
        indent = re.search(rb"\{(\s*)", content)
        assert indent is not None
        comma = b"," if config else b""
        changed = body + comma + indent[1] + json.dumps(name).encode() + b": " + json.dumps(value).encode()
        changed += content[len(body) :]
    if json.loads(changed) != {**config, name: value}:
        raise ValueError(f"{name} can't be written into config.json")
    return changed


def line_of(content: bytes, key: Key) -> int:
    """The line of config.json, from 1, on which the key stands."""
    return content[: content.index(b'"' + key[-1].encode() + b'"')].count(b"\n") + 1


def _set(config: dict[str, Any], key: Key) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    section = changed
    for part in key[:-1]:
        section = section[part]
    section[key[-1]] = None
    return changed
