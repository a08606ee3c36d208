"""Texts whose active dims sentence-transformers counts otherwise are themselves counted, more of them or fewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SparseEncoder

from patcher.errors import SourceError
from patcher.patching.record import load
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
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


DENSE = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@pytest.mark.parametrize(
    ("architectures", "modules"),
    [(["GptBertForMaskedLM"], None), (None, None), (["GptBertModel"], None), (["GptBertForMaskedLM"], DENSE)],
)
def test_the_plan_refuses_exactly_what_sparse_encoder_gives_a_random_autoencoder(
    mini: Path, patched: Path, architectures: Any, modules: Any
) -> None:
    """The source for the plan, the patched code for SparseEncoder, which can't load the published one."""
    for folder in (mini, patched):
        config = json.loads((folder / "config.json").read_text()) | {"architectures": architectures}
        (folder / "config.json").write_text(json.dumps(config))
        if modules:
            (folder / "modules.json").write_text(json.dumps(modules))
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 64, "pooling_mode": "mean"}')
    try:
        refused = not make_plan(resolve(str(mini)))
    except SourceError:
        refused = True
    modules_of = [type(part).__name__ for part in SparseEncoder(str(patched), trust_remote_code=True, device="cpu")]
    assert ("SparseAutoEncoder" in modules_of) is refused is (modules_of[-1] != "SpladePooling")
