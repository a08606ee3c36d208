"""The verification passes the patched miniature and catches each way in which a patch can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.codec import document
from patcher.documents.card import describe_commit, render
from patcher.hashing import sha256_of
from patcher.patching.record import FileRecord, load
from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.verify.measure.calls import MODES, SAVED
from patcher.verify.report import Report, load_report
from patcher.verify.requests import base_code
from patcher.verify.verification import evaluate, hash_folder, verify
from tests.conftest import MINI, ON_CPU, Run
from tests.verify.heads import HEADS, NOT_FOLLOWED, Head
from tests.verify.made_up import CONVERTED, GOOD, KEPT_CAP, LIMIT, MODEL, ROUNDED, apart, judged
from tests.verify.running import CAP, CHECKS, alter, edit, failed, repaired, report_on, wanted
from tests.verify.table import PAGE, page


def patched_from(source: Path, out: Path) -> Path:
    """What patching makes of a source."""
    snapshot = resolve(str(source))
    folder = patch_model(make_plan(snapshot), snapshot, out, None).folder
    assert folder is not None
    return folder


def test_the_patched_miniature_passes_every_check(patched: Path, tmp_path: Path) -> None:
    report = report_on(patched, tmp_path / "scratch")
    assert [check.name for check in report.checks] == [*CHECKS, "files_unchanged"]
    assert report.passed, failed(report)
    values = {check.name: check.value for check in report.checks}
    assert values["cap_removed_exactly"] <= 1e-5
    assert report.base["logit_sparsity"] == 0.0
    assert report.base["min"] > 0 and report.base["max"] < 30
    assert report.patched["logit_sparsity"] > 0.98
    assert report.patched["max"] > 0, "a head without any positive logit would be sparse and useless"


@pytest.mark.parametrize("capless", [False, True], ids=["with_the_cap", "alone"])
def test_the_row_of_the_bos_token_is_dropped_and_every_other_row_is_the_same(
    patched: Path, tmp_path: Path, capless: bool
) -> None:
    """From the source the cap goes too; from a model without a cap, such as a trained one, the row alone does."""
    snapshot = resolve(str(patched if capless else MINI))
    out = tmp_path / f"dropped-{tmp_path.name}"
    patch_model(make_plan(snapshot, Options(drop_bos=True)), snapshot, out, None)
    report = report_on(out, tmp_path / "scratch")
    assert report.passed and "bos_row_dropped" in {check.name for check in report.checks}
    card = render(load(out), report, "dropped")
    assert "bos_row_dropped" in card and "log(2)" not in card and "bos token's row" in card
    assert "loads correctly on transformers 5 now:\n\n- the synthetic" not in card
    said = describe_commit(load(out), report)
    assert "The synthetic first row is zero." in said and "The cap stays" not in said
    # A row that is there in training alone; other rows that differ everywhere.
    late = "        subword_prediction = torch.cat([first_row"
    change = (late, f"        subword_prediction = subword_prediction * 1.001\n{late}")
    folder = shutil.copytree(out, tmp_path / f"wrong-{tmp_path.name}")
    edit(folder, *(change if capless else ("_id] = 0.0", "_id] = 1.0 if self.training else 0.0")))
    wrong = failed(report_on(folder, tmp_path / "scratch-wrong"))
    assert wrong == ({"bos_row_dropped", "modes_agree"} if capless else {"modes_agree"})


def test_the_code_as_published_fails_on_transformers_5(patched: Path, tmp_path: Path) -> None:
    """Not even the first line of a forward pass is reached: config.is_decoder is gone."""
    for name in ("modeling_gptbert.py", "config.json"):
        shutil.copy(MINI / name, patched / name)
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == set(CHECKS)
    assert "is_decoder" in report.checks[0].detail


def test_rotary_tables_as_published_are_found_wrong(patched: Path, tmp_path: Path) -> None:
    shutil.copy(MINI / "modeling_gptbert.py", patched / "modeling_gptbert.py")
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == set(CHECKS)  # logits of NaN prove nothing
    assert report.checks[1].name == "buffers_rebuilt" and report.checks[1].value == 8, report.checks[1]


@pytest.mark.parametrize(
    "cap", ["15 * torch.sigmoid(subword_prediction / 7.5)", "30 * torch.sigmoid(subword_prediction / 5)"]
)
def test_a_cap_that_is_changed_and_not_removed_is_caught(patched: Path, tmp_path: Path, cap: str) -> None:
    shutil.copy(MINI / "modeling_gptbert.py", patched / "modeling_gptbert.py")
    (patched / "modeling_gptbert.py").write_bytes(base_code(load(patched))["modeling_gptbert.py"])
    edit(patched, CAP, f"subword_prediction = {cap}")
    report = report_on(patched, tmp_path / "scratch")
    assert {"cap_removed_exactly", "negative_logits", "relu_sparsity"} <= failed(report)


@pytest.mark.parametrize("wrong", [{"scale": 29.99}, {"temperature": 7.501}])
def test_a_record_with_another_scale_or_temperature_is_caught(
    patched: Path, tmp_path: Path, wrong: dict[str, float]
) -> None:
    model = load(patched)
    report = report_on(patched, tmp_path / "scratch", replace(model, soft_cap=replace(model.soft_cap, **wrong)))
    assert failed(report) == {"cap_removed_exactly", "modes_agree"}


def test_a_cap_removed_in_the_wrong_class_is_caught(patched: Path, tmp_path: Path) -> None:
    (patched / "modeling_gptbert.py").write_bytes(base_code(load(patched))["modeling_gptbert.py"])
    masked, causal = (patched / "modeling_gptbert.py").read_text("utf-8").split("class GptBertForCausalLM", 1)
    assert CAP in masked and CAP in causal
    text = masked + "class GptBertForCausalLM" + causal.replace(f"        {CAP}\n", "")
    (patched / "modeling_gptbert.py").write_text(text, "utf-8")
    report = report_on(patched, tmp_path / "scratch")
    assert {"cap_removed_exactly", "negative_logits", "relu_sparsity"} <= failed(report)


def test_one_altered_weight_is_caught_by_its_hash_its_value_and_the_logits(patched: Path, tmp_path: Path) -> None:
    alter(patched, "classifier.projection.weight", 0.75)
    model = load(patched)  # which says no more where the source lies
    model = replace(model, source=replace(model.source, folder=MINI))
    report = report_on(patched, tmp_path / "scratch", model)
    assert {"weights_unchanged", "cap_removed_exactly"} <= failed(report)
    assert "classifier.projection.weight" in report.checks[0].detail


def test_a_weight_that_the_code_alters_on_loading_is_caught(patched: Path, tmp_path: Path) -> None:
    """The file is right and the model in memory is not."""
    alteration = "    def tie_weights(self, *args, **kwargs):\n        self.classifier.emb2vocab.bias.data[7] += 9\n"
    edit(patched, "class GptBertForMaskedLM(GptBertModel):\n", f"class GptBertForMaskedLM(GptBertModel):\n{alteration}")
    report = report_on(patched, tmp_path / "scratch")
    assert {"weights_unchanged", "cap_removed_exactly"} <= failed(report)


def test_a_forward_pass_that_writes_into_the_shared_weights_is_caught(patched: Path, tmp_path: Path) -> None:
    """The base holds the same memory, so its logits alone could not show it."""
    edit(
        patched, "        # splade-patcher: removed", "        self.classifier.emb2vocab.bias.data[7] += 1\n        # "
    )
    report = report_on(patched, tmp_path / "scratch")
    assert "weights_unchanged" in failed(report)
    assert "classifier.emb2vocab.bias" in report.checks[0].detail


def test_a_head_that_is_wrong_in_training_alone_is_caught_with_the_mode_named(patched: Path, tmp_path: Path) -> None:
    """It also writes into the shared weights there, after the main run."""
    wrong = (
        "if self.training:\n            self.classifier.emb2vocab.bias.data[7] += 1\n"
        "            subword_prediction = subword_prediction.relu()\n"
    )
    edit(patched, "        # splade-patcher: removed", f"        {wrong}        # splade-patcher: removed", 1)
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == {"weights_unchanged", "modes_agree"}
    modes = {mode.name: mode for mode in report.modes}
    assert modes["right_padding"].passed and not modes["train"].passed
    assert "train (no logit is negative)" in next(one.detail for one in report.checks if one.name == "modes_agree")
    report.write(patched)
    written = load_report(patched)
    assert written is not None and written.modes == report.modes


def test_a_logit_that_is_not_finite_fails_every_check(patched: Path, tmp_path: Path) -> None:
    alter(patched, "classifier.emb2vocab.bias", float("nan"))
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == set(CHECKS)
    assert all("not finite" in check.detail for check in report.checks if check.name in CHECKS)
    report.write(patched)  # null, not NaN: the report stays valid JSON
    assert json.loads((patched / "report.json").read_text())["passed"] is False


def test_the_report_says_which_bytes_it_is_about(patched: Path, tmp_path: Path) -> None:
    report = report_on(patched, tmp_path / "scratch")
    assert report.files["model.safetensors"] == sha256_of(MINI / "model.safetensors")
    assert report.files["modeling_gptbert.py"] == sha256_of(patched / "modeling_gptbert.py")
    assert "patch.json" in report.files and "README.md" not in report.files


def test_a_right_model_passes_on_one_device_and_on_several() -> None:
    assert judged(GOOD).passed and judged(GOOD, model=CONVERTED).passed
    assert judged(ROUNDED, apart(0.0), apart(LIMIT)).passed, "what rounding explains, to the last bit"


def test_the_tolerance_follows_the_dtype_of_the_head() -> None:
    off = replace(GOOD, cap_error=1e-3)
    assert failed(judged(off)) == {"cap_removed_exactly"}
    assert judged(replace(off, head_dtype="bfloat16")).passed


def test_a_shift_on_record_has_to_keep_the_rankings() -> None:
    assert MODEL.soft_cap is not None
    shifted = replace(MODEL, soft_cap=replace(MODEL.soft_cap, shift=1.5))
    assert judged(GOOD, model=shifted).passed
    assert failed(judged(replace(GOOD, rankings_changed=1), model=shifted)) == {"rankings_kept"}


def test_the_same_inputs_give_the_same_report_byte_for_byte(patched: Path, cli: Run) -> None:
    reports = []
    for _ in range(2):
        assert cli("verify", patched, *ON_CPU, "--quiet").returncode == 0
        reports.append((patched / "report.json").read_bytes())
        (patched / "report.json").unlink()
    assert reports[0] == reports[1]


def test_a_failing_report_is_the_same_each_time_too(patched: Path) -> None:
    edit(
        patched,
        "        first_row = torch.zeros_like",
        "        raise ValueError(__file__)\n        first_row = torch.zeros_like",
    )
    reports = [document(verify(load(patched), wanted())) for _ in range(2)]
    assert reports[0] == reports[1]


def test_progress_tells_how_many_texts_are_done(patched: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify(load(patched), wanted(*["Oslo er hovedstaden i Norge."] * 50), progress=lambda *said: told.append(said))
    assert (told[0], told[-1]) == (("cpu", 0, 50), ("cpu", 50, 50))  # also while libraries and weights are loaded
    assert all(0 <= done <= total == 50 for _, done, total in told)


def test_a_weight_file_that_is_not_the_source_s_fails_although_the_tensors_look_right(patched_once: Path) -> None:
    files = {**hash_folder(patched_once), "model.safetensors": "0" * 64}
    report = evaluate(replace(load(patched_once), soft_cap=None), [KEPT_CAP], files, wanted())
    assert failed(report) == {"weights_unchanged"}


def test_a_file_added_to_the_folder_of_a_module_that_has_none_is_found(patched: Path) -> None:
    (patched / "modules.json").write_text('[{"idx": 0, "path": "2_Normalize", "type": "models.Normalize"}]')
    model = load(patched)
    modules = FileRecord("modules.json", "copied", "", hash_folder(patched)["modules.json"], 1)
    model = replace(model, soft_cap=None, files=(*model.files, modules))
    _append(patched, "2_Normalize/config.json")
    report = evaluate(model, [KEPT_CAP], hash_folder(patched), wanted())
    assert "; added: 2_Normalize/config.json" in report.checks[-1].detail and not report.checks[-1].passed


def _drop(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _append(folder: Path, name: str, text: str = "\n") -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    with (folder / name).open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("change", "name", "what"),
    [
        (_append, "modeling_gptbert.py", "changed"),
        (_append, "config.json", "changed"),
        (_append, "tokenizer_config.json", "changed"),
        (_drop, "special_tokens_map.json", "missing"),
        (_append, "sub/more.py", "added"),
        (_append, "modules.json", "added"),
    ],
)
def test_a_folder_that_is_no_longer_what_patch_wrote_fails(
    patched: Path, tmp_path: Path, change: Callable[[Path, str], None], name: str, what: str
) -> None:
    """The models run as before: the hashes alone can tell."""
    change(patched, name)
    report = report_on(patched, tmp_path / "scratch")
    assert not report.passed and failed(report) == set()
    assert f"; {what}: {name}" in report.checks[-1].detail


@pytest.mark.parametrize(
    "name", ["model.fp16.safetensors", "checkpoint-100/model.safetensors", "adapter_model.safetensors"]
)
def test_weights_that_transformers_does_not_load_are_left_out_and_change_nothing(
    mini: Path, tmp_path: Path, name: str
) -> None:
    """A second file of weights beside those that are loaded, with other tensors in it."""
    (mini / name).parent.mkdir(exist_ok=True)
    save_file({"lora.weight": torch.ones(2)}, mini / name)
    assert make_plan(resolve(str(mini))).files.dropped.get(name)
    folder = patched_from(mini, tmp_path / f"out-{tmp_path.name}")
    assert not (folder / name).exists()
    report = report_on(folder, tmp_path / "scratch")
    assert report.passed, failed(report)


def test_a_tensor_too_many_for_both_models_is_named_and_no_difference(mini: Path, tmp_path: Path) -> None:
    tensors = {**load_file(mini / "model.safetensors"), "old_pooler.weight": torch.ones(2)}
    save_file(tensors, mini / "model.safetensors", metadata={"format": "pt"})
    report = report_on(patched_from(mini, tmp_path / f"out-{tmp_path.name}"), tmp_path / "scratch")
    assert report.passed, failed(report)
    assert report.checks[0].detail.endswith("; only in the checkpoint: old_pooler.weight")


@pytest.mark.parametrize(("layer", "fails"), [("Linear(3, 4)", set()), ("Embedding(8192, 2)", {"weights_unchanged"})])
def test_a_tensor_too_few_for_both_models_is_named_and_no_difference_but_in_the_vocabulary(
    mini: Path, tmp_path: Path, layer: str, fails: set[str]
) -> None:
    """Its values are random numbers; those of the vocabulary would prove nothing about the source's logits."""
    line = "        self.gradient_checkpointing = False\n"
    edit(mini, line, f"{line}        self.pooler = nn.{layer}\n")
    report = report_on(patched_from(mini, tmp_path / f"out-{tmp_path.name}"), tmp_path / "scratch")
    assert failed(report) == fails and "pooler.weight" in report.checks[0].detail


def test_a_tensor_that_only_the_patched_model_has_fails(patched: Path, tmp_path: Path) -> None:
    init = "        super().__init__(config, add_mlm_layer=True, **kwargs)\n"
    edit(patched, init, f"{init}        self.extra = nn.Parameter(torch.zeros(2))\n", 1)
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == {"weights_unchanged"} and "extra" in report.checks[0].detail


def test_only_the_shards_that_the_index_names_are_loaded_and_compared(mini: Path, tmp_path: Path) -> None:
    tensors = load_file(mini / "model.safetensors")
    (mini / "model.safetensors").unlink()
    shard = "model-00001-of-00001.safetensors"
    save_file(tensors, mini / shard, metadata={"format": "pt"})
    save_file({"old": torch.ones(2)}, mini / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, shard)}
    (mini / "model.safetensors.index.json").write_text(json.dumps(index))
    folder = patched_from(mini, tmp_path / f"out-{tmp_path.name}")
    assert {path.name for path in folder.glob("*.safetensors")} == {shard}
    report = report_on(folder, tmp_path / "scratch")
    assert report.passed, failed(report)


def report_on_head(head: Head, scratch: Path) -> Report:
    """The verification of the patched miniature with another head."""
    source = shutil.copytree(MINI, scratch / "source")
    (source / "modeling_gptbert.py").write_text(head.code(), "utf-8")
    return report_on(repaired(source, scratch / f"splade-{scratch.name}", Options()), scratch / "scratch")


@pytest.mark.parametrize("head", [head for head in HEADS if head.dynamic], ids=lambda head: head.name)
def test_a_head_of_which_planning_knows_too_little_fails_in_a_mode_of_use(head: Head, tmp_path: Path) -> None:
    report = report_on_head(head, tmp_path)
    assert "modes_agree" in failed(report), report.checks


# One of each kind is run; planning takes the cap off all of them, which another test shows.
SOUND = {head.mode: head for head in HEADS if head.sound and head.name not in NOT_FOLLOWED}


@pytest.mark.parametrize("head", SOUND.values(), ids=lambda head: head.name)
def test_a_head_that_differs_in_no_mode_is_the_base_s_without_its_cap_in_each_of_them(
    head: Head, tmp_path: Path
) -> None:
    report = report_on_head(head, tmp_path)
    assert not failed(report), report.checks
    assert {mode.passed for mode in report.modes} == {True} and len(report.modes) == len((*MODES, SAVED))


def test_the_documentation_shows_these_modes_and_heads() -> None:
    assert page() == PAGE.read_text("utf-8"), "python -m tests.verify.table --write"
