"""A model whose code transformers brings: the class by `architectures`, the cap by a key of config.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patcher.errors import CodeError, SourceError
from patcher.patching.record import load
from patcher.planning.plan import Plan, make_plan
from patcher.planning.rewriting import Options
from patcher.source.snapshot import resolve
from tests.conftest import MINI, Run

CAP = 5.0


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gemma 2 of two small layers with random weights, with the tokenizer of the miniature."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = tmp_path_factory.mktemp("library") / "gemma2-tiny"
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=8192,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=CAP,
        tie_word_embeddings=False,
    )
    model = Gemma2ForCausalLM(config)
    model.lm_head.weight.data.mul_(20)  # far into the flat ends of the cap
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(MINI / name, folder / name)
    return folder


def plan_of(folder: Path, **options: bool) -> Plan:
    return make_plan(resolve(str(folder)), Options(**options))


def test_a_signed_cap_is_named_and_left_alone(gemma: Path) -> None:
    plan = plan_of(gemma)
    (result,) = plan.codemods
    assert (result.name, result.status) == ("soft_cap", "left_alone")
    assert "logits = torch.tanh(logits)" in str(result.reason) and "--also-signed" in str(result.reason)
    assert plan.files.changed == () and plan.soft_cap is None and plan.nothing_to_do == result.reason


def test_the_key_that_alone_turns_a_cap_on_is_changed_and_no_code(gemma: Path) -> None:
    plan = plan_of(gemma, also_signed=True)
    assert plan.files.changed == ("config.json",)
    before = (gemma / "config.json").read_text()
    assert plan.contents["config.json"].decode() == before.replace(
        '"final_logit_softcapping": 5.0', '"final_logit_softcapping": null'
    )
    assert plan.soft_cap is not None
    assert (plan.soft_cap.kind, plan.soft_cap.scale, plan.soft_cap.temperature) == ("tanh", CAP, CAP)
    assert plan.soft_cap.file == "config.json" and before.split("\n")[plan.soft_cap.line - 1].strip().startswith(
        '"final_logit_softcapping"'
    )


def test_it_obeys_its_law_and_is_done_once(gemma: Path, tmp_path: Path, cli: Run) -> None:
    out = tmp_path / "gemma2-raw"
    options = ("--also-signed", "--trust-remote-code", "--device", "cpu", "--min-logit-sparsity", "0.2", "--json")
    done = cli("patch", gemma, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    law = next(check for check in report["checks"] if check["name"] == "cap_removed_exactly")
    assert law["passed"] and report["before"]["max"] < CAP < report["after"]["max"]
    assert json.loads((out / "config.json").read_text())["final_logit_softcapping"] is None
    assert load(out).originals == {"config.json": (gemma / "config.json").read_bytes()}
    assert plan_of(out, also_signed=True).already_patched


def test_a_cap_in_the_library_that_no_key_turns_off_is_refused(gemma: Path, tmp_path: Path) -> None:
    """RecurrentGemma applies its cap without asking whether there is one."""
    folder = shutil.copytree(gemma, tmp_path / "other")
    config = {
        "architectures": ["RecurrentGemmaForCausalLM"],
        "model_type": "recurrent_gemma",
        "logits_soft_cap": 30.0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CodeError, match="library-code") as caught:
        plan_of(folder, also_signed=True)
    assert "tanh" in caught.value.message


@pytest.mark.parametrize("name", ["BertForMaskedLM", "NoSuchForMaskedLM", "BertForSequenceClassification"])
def test_a_library_class_without_a_cap_or_without_such_logits_is_refused(
    gemma: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(gemma, tmp_path / "other")
    (folder / "config.json").write_text(json.dumps({"architectures": [name], "model_type": "bert"}))
    with pytest.raises((CodeError, SourceError), match=r"no soft cap|no class of transformers"):
        plan_of(folder)
