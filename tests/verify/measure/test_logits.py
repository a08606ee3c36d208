"""What the child measures of a model whose cap was removed, and of one whose cap stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patcher.errors import UsageError
from patcher.patching.record import load
from patcher.verify.measure.logits import measure
from patcher.verify.requests import prepare
from patcher.verify.settings import check_available
from patcher.verify.verification import evaluate, hash_folder
from tests.verify.running import alter, edit, repaired, wanted


def test_a_device_that_is_not_there_is_told_before_model_code_runs(patched: Path, tmp_path: Path) -> None:
    (patched / "modeling_gptbert.py").write_text("raise RuntimeError('ran')")
    request = prepare(load(patched), tmp_path / "scratch", wanted(), "mps")
    if not torch.backends.mps.is_available():
        assert measure(request).unavailable.devices[-1] == "cpu"


def test_batches_are_halved_when_memory_runs_out_and_progress_is_reported_where_the_cap_stays(
    trained: Path, tmp_path: Path
) -> None:
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}")
    whole = measure(prepare(load(out), tmp_path / "whole", wanted(), "cpu"))
    edit(
        out,
        "        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)\n",
        "        if input_ids.shape[0] > 2:\n            raise torch.OutOfMemoryError('CUDA out of memory')\n"
        "        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)\n",
    )
    halved = measure(prepare(load(out), tmp_path / "halved", wanted(), "cpu"))
    assert halved.failure is None and halved.positions == whole.positions
    assert halved.patched.active_dims == whole.patched.active_dims and halved.patched.min == pytest.approx(
        whole.patched.min
    )
    assert int((tmp_path / "halved" / "progress").read_text()) > 0


def test_texts_that_go_beyond_512_tokens_show_what_happens_there(patched: Path, tmp_path: Path) -> None:
    late = "subword_prediction[:, 515:]"
    edit(patched, "        first_row = torch", f"        {late} = {late}.clamp(min=0)\n        first_row = torch")
    request = prepare(load(patched), tmp_path / "scratch", wanted("Fjorden ligg stille om morgonen. " * 99), "cpu")
    found = measure(request)
    assert request.max_tokens == 520 and found.positions == 519
    errors = {one.name: one.error for one in found.modes if one.name in {"right_padding", "more_than_512_tokens"}}
    assert errors["right_padding"] < 1e-4 < errors["more_than_512_tokens"]


def test_a_table_that_a_model_keeps_from_one_pass_is_one_to_train_with(patched: Path, tmp_path: Path) -> None:
    kept = "        self.kept = getattr(self, 'kept', None)\n"
    kept += "        self.kept = torch.ones_like(subword_prediction[0, 0]) if self.kept is None else self.kept\n"
    kept += "        subword_prediction = subword_prediction * self.kept.detach()\n"
    edit(patched, "        first_row = torch", f"{kept}        first_row = torch", 1)
    found = measure(prepare(load(patched), tmp_path / "scratch", wanted(), "cpu"))
    assert found.modes and not [one for one in found.modes if one.wrong or one.not_run], found.modes


@pytest.mark.parametrize(("other", "agree"), [(None, True), ("altered", False)])
def test_devices_are_held_against_each_other_where_the_cap_stays(
    trained: Path, tmp_path: Path, other: str | None, agree: bool
) -> None:
    """One model in two dtypes stands in for two devices; then another model, which only this check can tell."""
    folders = [repaired(trained, tmp_path / f"out-{tmp_path.name}")]
    if other:
        alter(trained, "classifier.emb2vocab.bias", 9.0)
    folders.append(repaired(trained, tmp_path / f"{other}-{tmp_path.name}"))
    asked = replace(wanted(), devices=("cpu", "cuda"))
    first, second = load(folders[0]), load(folders[1])
    answers = [measure(prepare(first, tmp_path / "0", asked, "cpu"))]
    request = prepare(second, tmp_path / "1", asked, "cpu", tmp_path / "0" / "digest")
    answers.append(measure(replace(request, dtype="bfloat16")))
    report = evaluate(first, answers, hash_folder(folders[0]), asked)
    assert [one.environment["dtype"] for one in (report, *report.more_devices)] == ["float32", "bfloat16"]
    assert report.disagreement is not None and report.disagreement.largest > 0
    assert {check.name for check in report.all_checks if not check.passed} == (set() if agree else {"devices_agree"})


def test_an_attention_that_the_code_does_not_offer_is_not_silently_dropped(trained: Path, tmp_path: Path) -> None:
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}")
    asked = replace(wanted(), attention="sdpa")
    answer = measure(prepare(load(out), tmp_path / "0", asked, "cpu"))
    with pytest.raises(UsageError) as caught:
        check_available(answer, "cpu", asked.attention)
    assert "--attn sdpa" in caught.value.hint
