"""A head that is wrong in one mode of use is found in that mode, and a right one is right in all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from patcher.patching.record import load
from patcher.verify.measure.calls import MODES, SAVED
from patcher.verify.measure.comparison import apply_cap
from patcher.verify.measure.models import LoadSpec, fresh_model, load_as_users_do, share_weights
from patcher.verify.measure.modes import Modes, Reference
from patcher.verify.messages import CapFunction, ModeResult
from patcher.verify.requests import base_code
from patcher.verify.tolerances import judge_mode
from tests.verify.made_up import GOOD, MODEL
from tests.verify.running import CAP

FILE = "modeling_gptbert.py"
TEXTS = ([2, 500, 871, 90, 1234, 77, 3], [2, 4021, 17, 655, 3])
BY_NAME = {mode.name: mode for mode in (*MODES, SAVED)}
MEASURED = replace(GOOD, roundings=400)
CLASS = "class GptBertForMaskedLM(GptBertModel):\n"
CLAMP = "subword_prediction = subword_prediction.clamp(min=0)"
SCALE = "subword_prediction = subword_prediction * 1.5"


def when(test: str, then: str = CLAMP) -> str:
    return f"if {test}:\n            {then}"


class Pair:
    """The base and the patched model of one head, whose code `change` makes of the base's."""

    def __init__(self, source: Path, root: Path, change: Callable[[str], str], config: dict[str, Any]) -> None:
        code = base_code(load(source))
        text = change(code[FILE].decode())
        masked, rest = text.split("class GptBertForCausalLM", 1)
        assert masked.count(CAP) == 1
        patched = masked.replace(CAP, "pass") + "class GptBertForCausalLM" + rest
        self.folder = _folder(source, root / f"patched-{root.name}", {**code, FILE: patched.encode()}, config)
        base_folder = _folder(source, root / f"base-{root.name}", {**code, FILE: text.encode()}, config)
        with torch.no_grad():
            self.patched, _ = load_as_users_do(str(self.folder))
            self.base = share_weights(
                fresh_model(str(base_folder)), self.patched, [str(self.folder / "model.safetensors")]
            )

    def run(self, *names: str, alone: bool = False) -> dict[str, ModeResult]:
        """The results of plain evaluation, of the modes that others repeat, and of those that are named."""
        cap = CapFunction("sigmoid", 30.0, 7.5)
        reference = None if alone else Reference(self.base, partial(apply_cap, cap))
        chosen = [mode for mode in MODES if not names or mode.name in {"right_padding", "train", *names}]
        with torch.no_grad():
            run = Modes(self.patched, TEXTS, 0, reference)
            found = list(run.run(chosen))
            if not names or SAVED.name in names:
                found.append(run.save_and_load(str(self.folder), LoadSpec(), self.folder.parent))
        return {one.name: one for one in found}


def _folder(source: Path, folder: Path, code: dict[str, bytes], config: dict[str, Any]) -> Path:
    folder.mkdir()
    for name, content in code.items():
        (folder / name).write_bytes(content)
    settings = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


Make = Callable[..., Pair]


@pytest.fixture
def pair(patched_once: Path, tmp_path: Path) -> Make:
    def make(
        before: str = "", after: str = "", replaced: tuple[str, str] | None = None, methods: str = "", **config: Any
    ) -> Pair:
        """Both models with lines around the cap of the masked LM, and another text replaced in its class."""

        def change(text: str) -> str:
            start = text.index(CLASS)
            head, rest = text[:start], text[start:]
            rest = rest.replace(CAP, "\n        ".join(line for line in (before, CAP, after) if line), 1)
            if replaced:
                assert replaced[0] in rest
                rest = rest.replace(*replaced, 1)
            return head + rest.replace("    def forward(\n", f"{methods}    def forward(\n", 1)

        return Pair(patched_once, tmp_path, change, config)

    return make


def wrong(found: dict[str, ModeResult]) -> set[str]:
    """The modes in which the model is wrong."""
    return {name for name, one in found.items() if judge_mode(one, MEASURED, MODEL.soft_cap).passed is False}


def test_a_right_model_is_right_in_every_mode_and_is_left_as_it_was(pair: Make) -> None:
    models = pair(attention_dropout=0.1, hidden_dropout=0.1)
    before = {name: tensor.clone() for name, tensor in models.patched.state_dict().items()}
    found = models.run()
    assert list(found) == list(BY_NAME)
    assert wrong(found) == set() and not [one for one in found.values() if one.not_run], found
    assert not models.patched.training and not models.base.training
    assert all(torch.equal(before[name], tensor) for name, tensor in models.patched.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in models.patched.parameters())
    assert not models.patched.get_input_embeddings()._forward_hooks
    assert not list(models.folder.parent.glob("saved-*")), "what was saved is removed"
    dropped = [part.p for part in models.patched.modules() if isinstance(part, nn.Dropout)]
    assert 0.1 in dropped, "dropout is as configured again"


HEADS = {
    "right_padding": when(
        "attention_mask is not None and bool((attention_mask[:, -1] == 0).any()) and not self.training"
    ),
    "left_padding": when("attention_mask is not None and bool((attention_mask[:, 0] == 0).any())"),
    "batch_of_one": when("len(input_ids) == 1 and attention_mask is not None and input_ids.shape[1] < 9"),
    "no_attention_mask": when("attention_mask is None"),
    "more_than_512_tokens": when("subword_prediction.shape[1] > 512"),
    "hidden_states": when("output_hidden_states"),
    "attentions": when('kwargs.get("output_attentions")'),
    "gradient": when("torch.is_grad_enabled() and labels is None and not self.training"),
    "labels": when("labels is not None and return_dict and not self.training"),
    "labels_and_tuple_output": when("labels is not None and not return_dict"),
    "tuple_output": when("labels is None and not return_dict"),
    "train": when("self.training and not torch.is_autocast_enabled('cpu') and self.embedding.dropout.p > 0"),
    "train_without_dropout": when("self.training and self.embedding.dropout.p == 0"),
    "train_with_labels": when("self.training and labels is not None"),
    "gradient_checkpointing": when("self.training and self.gradient_checkpointing"),
    "bfloat16_autocast": when("subword_prediction.dtype == torch.bfloat16 and not self.training"),
    "float16_autocast": when("subword_prediction.dtype == torch.float16"),
    "bfloat16_autocast_in_training": when("subword_prediction.dtype == torch.bfloat16 and self.training"),
    "saved_and_loaded": when("getattr(self.config, 'tokens_seen', 0) and 'saved-' in self.config._name_or_path"),
}


def test_there_is_a_head_for_each_mode() -> None:
    assert HEADS.keys() == BY_NAME.keys()


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_bounds_its_logits_in_one_mode_is_wrong_there(pair: Make, name: str, side: str) -> None:
    """Before the cap both models are bounded, and base == cap(patched) holds; after it only the patched one is."""
    found = pair(**{side: HEADS[name]}, embedding_dropout=0.05, tokens_seen=1).run(name)
    others = {"train_with_labels", "gradient_checkpointing"} if name == "train" else set()
    assert wrong(found) - others == {name}, found
