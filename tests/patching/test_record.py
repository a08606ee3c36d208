"""The record of a patched folder: the base model's code is kept as what differs from the code as published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher.errors import OutputError
from patcher.patching.record import apply_changes, line_changes, load
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.verify.requests import base_code
from tests.conftest import MINI

LINES = st.lists(st.sampled_from([b"a\n", b"b\r\n", b"c", b"\n", b"\xff\n"])).map(b"".join)


@given(LINES, LINES)
def test_changes_turn_one_file_into_the_other(before: bytes, after: bytes) -> None:
    assert apply_changes(before, line_changes(before, after)) == after


def test_equal_files_have_no_changes() -> None:
    assert line_changes(b"a\nb\n", b"a\nb\n") == ()


def test_the_base_model_s_code_comes_back_from_the_record(patched_once: Path) -> None:
    plan, model = make_plan(resolve(str(MINI))), load(patched_once)
    assert base_code(model)["modeling_gptbert.py"] == plan.base["modeling_gptbert.py"]
    assert model.base is not None
    stored = sum(len(change.content) for change in model.base["modeling_gptbert.py"])
    assert 0 < stored < 3000, "the changes, not the file"


@pytest.mark.parametrize("name", ["originals", "base"])
def test_a_path_out_of_the_folder_is_refused(patched: Path, name: str) -> None:

    record = json.loads((patched / "patch.json").read_text("utf-8"))
    record[name]["../evil.py"] = record[name].popitem()[1]
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="record"):
        load(patched)
