"""The words of the command line for a verification, and what this machine may lack of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.patching.record import load
from patcher.verify import settings
from patcher.verify.settings import parse_devices, parse_dtype
from patcher.verify.verification import verify
from tests.verify.running import wanted


@pytest.mark.parametrize(
    ("words", "what"), [("tpu", "'tpu'"), ("cpu,cpu", "twice"), ("auto,cpu", "auto"), ("", "''"), ("cpu,", "''")]
)
def test_words_that_name_no_device_are_wrong_usage(words: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_devices(words)


def test_words_that_name_devices_keep_their_order() -> None:
    assert parse_devices("CUDA, cpu") == ("cuda", "cpu")
    with pytest.raises(UsageError, match="float8"):
        parse_dtype("float8")


def test_sentence_transformers_that_is_missing_is_told_before_a_child_starts(
    patched_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="--sparse-encoder needs sentence-transformers") as caught:
        verify(load(patched_once), wanted(sparse_encoder=True))
    assert "splade-patcher[sentence-transformers]" in caught.value.hint
