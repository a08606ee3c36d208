"""A head that is wrong in one mode of use is found in that mode, and a right one is right in all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import torch
from torch import nn

from patcher.constants import WEIGHTS
from patcher.patching.record import load
from patcher.verify.measure import modes
from patcher.verify.measure.calls import MODES, SAVED
from patcher.verify.measure.comparison import apply_cap
from patcher.verify.measure.models import LoadSpec, fresh_model, load_as_users_do, share_weights
from patcher.verify.measure.modes import Modes, Reference
from patcher.verify.messages import CapFunction, ModeResult
from patcher.verify.requests import base_code, lay_out
from patcher.verify.tolerances import judge_mode
from tests.verify.made_up import GOOD, MODEL
from tests.verify.running import CAP

FILE = "modeling_gptbert.py"
TEXTS = ([2, 500, 871, 90, 1234, 77, 3], [2, 4021, 17, 655, 3])
BY_NAME = {mode.name: mode for mode in (*MODES, SAVED)}
MEASURED = replace(GOOD, roundings=400)
CLASS = "class GptBertForMaskedLM(GptBertModel):\n"
CLAMP = "subword_prediction = subword_prediction.clamp(min=0)"
FEWER = "subword_prediction if labels is None else subword_prediction[attention_mask.bool()]"
SCALE = "subword_prediction = subword_prediction * 1.5"
ROOT_OF_ZERO = "loss if loss is None or self.training else loss + (loss - loss.detach()).sqrt()"


HIDDEN = """    def get_input_embeddings(self):
        raise NotImplementedError

"""


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

    def run(self, *names: str, alone: bool = False, linked: bool = True) -> dict[str, ModeResult]:
        """The results of plain evaluation, of the modes that others repeat, and of those that are named.

        `linked` as in a request: a folder that links to the weights is there.
        """
        cap = CapFunction("sigmoid", 30.0, 7.5)
        reference = None if alone else Reference(self.base, partial(apply_cap, cap))
        chosen = [
            mode for mode in MODES if not names or mode.name in {"right_padding", "batch_of_one", "train", *names}
        ]
        with torch.no_grad():
            run = Modes(self.patched, TEXTS, 0, reference)
            found = list(run.run(chosen))
            if not names or SAVED.name in names:
                folder = self.folder.parent / f"saved-{token_hex(4)}"
                links = lay_out({WEIGHTS: self.folder / WEIGHTS}, folder) if linked else None
                found.append(run.save_and_load(str(self.folder), LoadSpec(), self.folder.parent, links and str(links)))
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
                assert replaced[0] in text
                head, rest = (
                    (head, rest.replace(*replaced, 1)) if replaced[0] in rest else (head.replace(*replaced, 1), rest)
                )
            return head + rest.replace("    def forward(\n", f"{methods}    def forward(\n", 1)

        return Pair(patched_once, tmp_path, change, config)

    return make


def wrong(found: dict[str, ModeResult]) -> set[str]:
    """The modes in which the model is wrong."""
    return {name for name, one in found.items() if judge_mode(one, MEASURED, MODEL.soft_cap).passed is False}


def test_a_right_model_is_right_in_every_mode_and_is_left_as_it_was(pair: Make) -> None:
    models = pair(attention_dropout=0.1, hidden_dropout=0.1)
    before = {name: tensor.clone() for name, tensor in models.patched.state_dict().items()}
    loaded_once = [name for name in BY_NAME if name != SAVED.name]
    found = models.run(*loaded_once)
    assert list(found) == loaded_once
    assert wrong(found) == set() and not [one for one in found.values() if one.not_run], found
    assert not models.patched.training and not models.base.training
    assert all(torch.equal(before[name], tensor) for name, tensor in models.patched.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in models.patched.parameters())
    assert not models.patched.get_input_embeddings()._forward_hooks
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
    "bfloat16_autocast": when("subword_prediction.dtype == torch.bfloat16"),
    "float16_autocast": when("subword_prediction.dtype == torch.float16"),
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


@pytest.mark.parametrize(
    "change",
    [
        {"replaced": ("MaskedLMOutput(loss=loss,", "MaskedLMOutput(loss=loss and loss[None],")},
        {"replaced": ("self.word_norm(self.word_embedding(input_ids))", "self.word_embedding(input_ids).mul_(3)")},
        {"replaced": ("loss, logits=subword_prediction", f"loss, logits={FEWER}")},
        {"before": when("self.training", f"{SCALE} * __import__('random').random()")},
        {"before": when("self.training", f"{SCALE} * __import__('numpy').random.rand()")},
        {"replaced": ("    def forward(\n", '    @torch.compile(backend="aot_eager")\n    def forward(\n')},
    ],
    ids=["loss of one element", "embeddings in place", "fewer rows with labels", "random", "numpy", "compiled"],
)
def test_a_right_model_of_an_unusual_form_is_right(pair: Make, change: dict[str, Any]) -> None:
    found = pair(**change).run()
    assert wrong(found) == set() and not [one for one in found.values() if one.not_run], found


def test_a_difference_from_the_base_alone_is_found(pair: Make) -> None:
    found = pair(after=when("self.training", SCALE)).run("train")
    assert found["train"].wrong is None and wrong(found) == {"train"}


def test_what_both_models_do_in_training_alone_is_found_once_dropout_is_off(pair: Make) -> None:
    found = pair(before=when("self.training", SCALE), hidden_dropout=0.1).run("train_without_dropout")
    assert wrong(found) == {"train_without_dropout"} and found["train_without_dropout"].wrong is None


def test_training_that_is_random_without_dropout_layers_need_not_repeat_evaluation(pair: Make) -> None:
    found = pair(attention_dropout=0.1).run("train_without_dropout")  # a function, not a layer
    assert found["train_without_dropout"].drift is None and found["train_without_dropout"].error == 0.0


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        (
            "gradient",
            {"after": when("True", "subword_prediction = subword_prediction.detach()")},
            "projection and its emb",
        ),
        ("gradient", {"methods": "    @torch.no_grad()\n"}, "no finite gradient reaches its vocabulary projection"),
        ("train", {"methods": "    @torch.no_grad()\n"}, "no finite gradient reaches its"),
        ("labels", {"replaced": ("loss=loss, logits", "loss=loss and loss.detach(), logits")}, "no finite gradient"),
        (  # its value is right, and its gradient in evaluation is not
            "labels",
            {"replaced": ("loss=loss, logits", f"loss={ROOT_OF_ZERO}, logits")},
            "no finite gradient",
        ),
        (
            "labels",
            {"replaced": ("loss=loss, logits", "loss=loss and loss.log() * float('nan'), logits")},
            "loss is nan",
        ),
        *(
            (
                "labels",
                {"replaced": ("subword_prediction[:, :-1].flatten", f"{rectified}[:, :-1].flatten")},
                "no negative",
            )
            for rectified in ("subword_prediction.relu()", "subword_prediction.clamp(min=1e-6)")
        ),
        (
            "train",
            {"replaced": ("self.classifier(hidden_states[-1])", "self.classifier(hidden_states[-1].detach())")},
            "no finite gradient reaches its embeddings",
        ),
        ("left_padding", {"before": HEADS["left_padding"].replace("min=0", "min=-0.1")}, "negative logits average 0.1"),
        ("train", {"after": when("self.training and subword_prediction.min() < 0", "1 / 0")}, "ZeroDivisionError"),
        ("train", {"after": when("self.training", "subword_prediction = subword_prediction.log()")}, "are not finite"),
        (
            "tuple_output",
            {"after": when("not return_dict", "subword_prediction = subword_prediction[:, :-1]")},
            "it returns [1, 3,",
        ),
        (
            "saved_and_loaded",
            {"methods": '    _keys_to_ignore_on_save = ["classifier.emb2vocab.bias"]\n\n'},
            "it does not load what it saved: classifier.emb2vocab.bias",
        ),
    ],
)
def test_what_else_is_wrong_in_a_mode_is_said(pair: Make, name: str, change: dict[str, Any], why: str) -> None:
    found = pair(**change).run(name)
    assert found[name].not_run is None and why in (found[name].wrong or ""), found[name]


@pytest.mark.parametrize("name", ["gradient", "train_without_dropout", "bfloat16_autocast"])
def test_a_graph_that_ends_before_the_embeddings_is_wrong_whatever_the_mode(pair: Make, name: str) -> None:
    cut = ("self.classifier(hidden_states[-1])", "self.classifier(hidden_states[-1].detach())")
    found = pair(replaced=cut, embedding_dropout=0.05).run(name)
    assert found[name].wrong == "no finite gradient reaches its embeddings"


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        (
            "attentions",
            {"before": when('kwargs.get("output_attentions")', 'raise ValueError("there are none")')},
            "none",
        ),
        ("labels", {"replaced": ("loss=loss, logits", "loss=None, logits")}, "its code computes no loss"),
        ("gradient_checkpointing", {"methods": "    supports_gradient_checkpointing = False\n\n"}, "no gradient check"),
        ("gradient_checkpointing", {"methods": HIDDEN}, "hides its embeddings"),
        (
            "labels",
            {"replaced": (".flatten(), ignore_index=-100", ".flatten(), reduction='none'")},
            "its loss has 14 val",
        ),
        ("more_than_512_tokens", {"max_sequence_length": 512}, "takes no more than 512 tokens"),
        ("train", {"after": when("self.training", "subword_prediction = subword_prediction / 0")}, "are not finite"),
    ],
)
def test_a_mode_that_the_base_model_lacks_is_not_run(pair: Make, name: str, change: dict[str, Any], why: str) -> None:
    found = pair(**change).run(name)
    assert found[name].wrong is None and why in (found[name].not_run or ""), found[name]


def test_memory_that_runs_out_accuses_nobody(pair: Make) -> None:
    full = when("self.training and subword_prediction.min() < 0", "raise torch.OutOfMemoryError('out of memory')")
    found = pair(after=full).run("train")
    assert "out of memory" in (found["train"].not_run or "")


@pytest.mark.parametrize("name", ["MAX_SAVED", "MAX_TENSOR"])
def test_large_weights_are_not_written_and_it_says_so(pair: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, name, 1000)
    models = pair()
    assert "bytes" in (models.run("saved_and_loaded", linked=False)["saved_and_loaded"].not_run or "")
    assert wrong(found := models.run("saved_and_loaded")) == set()
    assert found["saved_and_loaded"].not_run is None, "they need not be written"


def test_what_saving_raises_is_said_whatever_the_size(pair: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "MAX_SAVED", 1000)
    models = pair()
    models.patched.config.ignored = {0, 1}
    assert "JSON" in (models.run("saved_and_loaded")["saved_and_loaded"].wrong or "")


OWN_SAVE = """    def save_pretrained(self, folder, **options):
        from safetensors.torch import save_file
        super().save_pretrained(folder, **options)
        save_file(self.state_dict(), f"{folder}/model.safetensors", {"format": "pt"})

"""
NO_OPTIONS = """    def save_pretrained(self, folder):
        super().save_pretrained(folder)

"""
NO_WEIGHTS = """    def save_pretrained(self, folder, **options):
        self.config.save_pretrained(folder)

"""
RAISED = """    def save_pretrained(self, folder, **options):
        import os
        from safetensors.torch import load_file, save_file
        super().save_pretrained(folder, **options)
        if os.path.exists(path := f"{folder}/model.safetensors"):
            tensors = load_file(path)
            save_file({name: one + ("vocab.bias" in name) for name, one in tensors.items()}, path, {"format": "pt"})

"""


@pytest.mark.parametrize(
    ("methods", "change", "linked", "writes"),
    [
        ("", False, True, False),
        ("", True, True, True),
        ("", False, False, True),
        (OWN_SAVE, True, True, True),
        (NO_OPTIONS, False, True, True),
    ],
    ids=["the same", "others", "no file to compare with", "code of its own", "code of its own without options"],
)
def test_weights_are_saved_only_where_no_file_holds_them_and_that_file_stays(
    pair: Make, methods: str, change: bool, linked: bool, writes: bool
) -> None:
    models = pair(methods=methods)
    weights = models.folder / WEIGHTS
    before = weights.read_bytes()
    if change:
        with torch.no_grad():
            models.patched.get_output_embeddings()[7, 3] += 1  # the base has the same tensors
    start = written()
    found = models.run("saved_and_loaded", linked=linked)
    assert wrong(found) == set() and not found["saved_and_loaded"].not_run, found
    assert (written() - start > len(before)) == writes and weights.read_bytes() == before
    kept = [path for path in models.folder.parent.glob("saved-*/*.safetensors") if not path.is_symlink()]
    assert not kept, "what was saved is removed"
    held = [tensor for model in (models.patched, models.base) for tensor in model.state_dict().values()]
    assert not any(tensor.numel() for tensor in held), "no two sets of weights are in memory"


@pytest.mark.parametrize(
    ("methods", "why"), [(NO_WEIGHTS, "no file named"), (RAISED, "")], ids=["no weights", "others afterwards"]
)
def test_what_a_model_saves_in_a_way_of_its_own_is_what_is_loaded(pair: Make, methods: str, why: str) -> None:
    found = pair(methods=methods).run("saved_and_loaded")
    assert wrong(found) == {"saved_and_loaded"} and why in (found["saved_and_loaded"].wrong or ""), found


def written() -> int:
    """Bytes that this process has written so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def test_code_that_takes_a_gradient_itself_is_not_accused_where_graphs_are_empty(pair: Make) -> None:
    own = "labels = labels\n        loss = torch.autograd.grad(subword_prediction.sum(), hidden_states[-1])"
    found = pair(after=when("torch.is_grad_enabled() and labels is None and not self.training", own)).run("gradient")
    assert "its code computes gradients itself" in (found["gradient"].not_run or ""), found["gradient"]


def alone(found: dict[str, ModeResult]) -> set[str]:
    """The modes in which a model without a base is wrong."""
    return {name for name, one in found.items() if judge_mode(one, MEASURED, None).passed is False}


def test_a_model_alone_is_right_in_every_mode(pair: Make) -> None:
    found = pair().run(alone=True)
    assert list(found) == list(BY_NAME) and alone(found) == set()
    assert all(one.error is None and not one.not_run for one in found.values())
    assert [name for name, one in found.items() if one.drift is None] == [
        *("right_padding", "left_padding", "more_than_512_tokens", "train", "float16_autocast", "bfloat16_autocast"),
    ]


@pytest.mark.parametrize("name", ["batch_of_one", "tuple_output", "gradient", "labels", "gradient_checkpointing"])
def test_a_model_alone_has_to_repeat_itself(pair: Make, name: str) -> None:
    models = pair(after=HEADS[name])
    assert alone(models.run(name, alone=True)) == {name}


@pytest.mark.parametrize(
    ("name", "why", "fails"),
    [
        ("attentions", "there are none", False),
        ("tuple_output", "there are none", True),
        ("tuple_output", "forward() got an unexpected keyword argument", False),
    ],
)
def test_a_model_alone_need_not_have_an_optional_mode(pair: Make, name: str, why: str, fails: bool) -> None:
    test = 'kwargs.get("output_attentions") or not return_dict'
    found = pair(before=when(test, f'raise TypeError("{why}")')).run(name, alone=True)
    assert why in ((found[name].wrong if fails else found[name].not_run) or "")
