"""What counts as the same code: comments and layout do not."""

from __future__ import annotations

import pytest

from patcher.publish.code import same_meaning


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (b"# another comment\ndef f(x):\n    return (x + 1)\n", True),
        (b"def f(x): return x + 1", True),
        (b"def f(x):\n    return x + 2\n", False),
        (b'def f(x):\n    """Said."""\n    return x + 1\n', False),
        (b"def f(x:\n", False),
        (b"\0", False),
    ],
)
def test_code_is_compared_as_a_tree(other: bytes, same: bool) -> None:
    assert same_meaning(b"def f(x):\n    # why\n    return x + 1\n", other) is same
