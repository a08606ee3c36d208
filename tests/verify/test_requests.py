"""What a child reads: the base model's code, and folders with links to the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.errors import OutputError
from patcher.patching.record import load
from patcher.verify.requests import base_code
from tests.verify.running import CAP


def test_the_base_model_of_the_proof_runs_the_published_constructor(patched: Path) -> None:
    """Only the repairs may tell it from the published code; the cap has to be in it."""
    text = base_code(load(patched))["modeling_gptbert.py"].decode()
    assert text.count(CAP) == 2
    assert "_init_arguments" in text and "_tied_weights_keys = None" in text


def test_a_record_without_the_code_of_the_base_model_is_told(patched: Path) -> None:
    record = json.loads((patched / "patch.json").read_text())
    del record["base"]
    record["options"]["also_signed"] = False
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="earlier version") as caught:
        base_code(load(patched))
    assert "patcher patch" in caught.value.hint
