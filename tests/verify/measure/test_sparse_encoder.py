"""Texts whose active dims sentence-transformers counts otherwise are themselves counted, more of them or fewer."""

from __future__ import annotations

from pathlib import Path

from patcher.patching.record import load
from patcher.verify.measure.logits import measure
from patcher.verify.measure.sparse_encoder import compare
from patcher.verify.requests import prepare
from tests.verify.running import TEXTS, wanted


def test_each_text_that_disagrees_counts(patched: Path, tmp_path: Path) -> None:
    asked = wanted()
    request = prepare(load(patched), tmp_path / "scratch", asked, "cpu")
    ours = [text.patched.active_dims for text in measure(request).probe_texts]
    assert len(ours) == len(TEXTS)
    found = compare(request, [ours[0] + 1, ours[1] - 1, ours[2]], "cpu")
    assert found.disagreements == 2 and found.pooling == "SpladePooling"
