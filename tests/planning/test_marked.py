"""The line that tells two codes apart where transformers looks at the configuration alone."""

from __future__ import annotations

import pytest

from patcher.planning.marked import mark_configuration, unmarked

CONFIG = {"auto_map": {"AutoConfig": "configuration.Config", "AutoModelForMaskedLM": "modeling.Model"}}
MODULES = {"modeling.py": b"a = 1\n", "configuration.py": b"class Config: ...\n", "other.py": b""}


def marked(contents: dict[str, bytes], modules: dict[str, bytes] = MODULES, target: str = "modeling.py") -> bytes:
    return mark_configuration(contents, modules, CONFIG, target).get("configuration.py", b"")


def test_each_code_gets_a_line_of_its_own_at_the_end() -> None:
    one, other = marked({"modeling.py": b"a = 2\n"}), marked({"modeling.py": b"a = 3\n"})
    assert one != other and one == marked({"modeling.py": b"a = 2\n"})
    assert one.startswith(MODULES["configuration.py"] + b"# splade-patcher: ") and one.count(b"\n") == 2
    assert unmarked(one) == MODULES["configuration.py"]


def test_code_that_did_not_change_gets_none() -> None:
    assert marked({"modeling.py": MODULES["modeling.py"]}) == b""


def test_an_earlier_line_is_replaced() -> None:
    first = marked({"modeling.py": b"a = 2\n"})
    again = marked({"modeling.py": b"a = 3\n"}, {**MODULES, "configuration.py": first})
    assert again == marked({"modeling.py": b"a = 3\n"})


def test_a_configuration_in_the_model_s_own_file_or_nowhere_is_left_alone() -> None:
    assert marked({"modeling.py": b"a = 2\n"}, target="configuration.py") == b""
    assert mark_configuration({"modeling.py": b"a = 2\n"}, {"modeling.py": b"a = 1\n"}, CONFIG, "modeling.py") == {}


@pytest.mark.parametrize("content", [b"class Config: ...", b"class Config: ...\r\n", b""])
def test_line_ends_are_those_of_the_file(content: bytes) -> None:
    found = marked({"modeling.py": b"a = 2\n"}, {**MODULES, "configuration.py": content})
    assert found.count(b"\r\n") == (2 if b"\r\n" in content else 0)
    assert unmarked(found).rstrip(b"\r\n") == content.rstrip(b"\r\n")
    compile(found, "configuration.py", "exec")
