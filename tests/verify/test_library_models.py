"""A model whose code is in the transformers library itself: a signed cap, switched off by its configuration alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from patcher.verify.measure.pair import measure
from patcher.verify.messages import CapFunction, PairRequest
from patcher.verify.verification import auto_class
from tests.conftest import MINI

TINY = {
    "vocab_size": 8192,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "sliding_window": 64,
    "attn_logit_softcapping": None,
}


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"auto_map": {"AutoModelForMaskedLM": "a.B"}, "architectures": ["C"]}, "AutoModelForMaskedLM"),
        ({"architectures": ["BertForMaskedLM"]}, "AutoModelForMaskedLM"),
        ({"architectures": ["Gemma2ForCausalLM"]}, "AutoModelForCausalLM"),
        ({"auto_map": {"AutoModelForCausalLM": "a.B"}}, "AutoModelForCausalLM"),
    ],
)
def test_the_auto_class_follows_the_configuration(config: dict[str, object], wanted: str) -> None:
    assert auto_class(config) == wanted


@pytest.mark.parametrize(("scale", "right"), [(30.0, True), (29.0, False)])
def test_a_tanh_cap_that_the_configuration_removes_obeys_its_law(tmp_path: Path, scale: float, right: bool) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    base, patched = tmp_path / f"base-{scale:.0f}", tmp_path / f"patched-{scale:.0f}"
    model = Gemma2ForCausalLM(Gemma2Config(**TINY, final_logit_softcapping=30.0))
    with torch.no_grad():
        model.lm_head.weight.mul_(40)
    model.save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(MINI / name, base / name)
    shutil.copytree(base, patched)
    config = json.loads((patched / "config.json").read_text())
    (patched / "config.json").write_text(json.dumps(config | {"final_logit_softcapping": None}))
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"id": "1", "language": "nb", "text": "Oslo er hovedstaden i Norge."}\n' * 3, "utf-8")
    answer = measure(
        PairRequest(
            patched=str(patched),
            base=str(base),
            weights=(str(base / "model.safetensors"),),
            auto_class=auto_class(config),
            vocabulary=8192,
            texts=str(texts),
            count=3,
            cap=CapFunction("tanh", scale, 30.0),
            device="cpu",
            dtype="float32",
            attention="eager",
            batch_size=2,
            max_batch_tokens=64,
            max_tokens=64,
            sparse_encoder=False,
            min_logit_sparsity=0.98,
            progress=str(tmp_path / "progress"),
            digest=None,
            reference=None,
        )
    )
    assert answer.failure is None and answer.buffers_wrong == (), answer
    assert answer.base.min < 0 < answer.base.max
    assert (answer.cap_error <= 1e-5) is right
    assert answer.tensors_changed == (), "the tied output matrix is no tensor of its own"
