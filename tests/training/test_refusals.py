"""What the training script refuses before it loads anything: bases, machines and checkpoints that would not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patcher.errors import SourceError
from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import listing_others
from tests.training.conftest import Configure

COLUMNS = {"query": "query", "positive": "positive", "negatives": ["negative"]}


def run(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run the script's `main`; returns its exit code and the lines on stderr."""
    from train_splade import main

    code = main([str(path), *arguments])
    said = capsys.readouterr()
    assert said.out == "", "stdout is for results"
    return code, said.err.splitlines()


def test_a_base_with_its_cap_is_refused_and_patcher_patch_named(
    configure: Configure, bases: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    base = bases["capped"]
    code, said = run(capsys, configure(model__base_model=str(base)))
    assert code == 3
    assert len(said) == 2
    assert "still has its cap (`subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)`)" in said[0]
    assert f"Hint: Run `patcher patch {base} --out DIR`" in said[1]


def test_a_base_as_published_is_refused_even_where_caps_are_allowed(
    configure: Configure, mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, configure(model__base_model=str(mini)), "--allow-capped")
    assert code == 3
    assert said[0] == f"Error: {mini} loads incorrectly on transformers 5."
    assert f"patcher repair {mini} --out DIR" in said[1]


def test_the_owner_of_a_trained_capped_model_can_go_on_training_it(
    configure: Configure, trained: Path, loading: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each hint names a command that gets further: refused, loading wrong, admitted."""
    from train_splade import find_base
    from training_config import read_config

    code, said = run(capsys, configure(model__base_model=str(trained)))
    assert code == 3 and "--allow-capped" in said[1] and f"patcher threshold {trained}" in said[1]
    code, said = run(capsys, configure(model__base_model=str(trained)), "--allow-capped")
    assert code == 3 and f"patcher repair {trained} --out DIR" in said[1]
    config = read_config(configure(model__base_model=str(loading)), [])
    assert find_base(config, allow_capped=True).root == loading


def test_a_base_that_was_stripped_by_hand_is_refused(
    configure: Configure, mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = mini / "modeling_gptbert.py"
    text = code.read_text("utf-8")
    cap = "        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)\n"
    assert cap in text
    code.write_text(text.replace(cap, ""), "utf-8")
    _, said = run(capsys, configure(model__base_model=str(mini)))
    assert said[0] == f"Error: {mini} was not written by `patcher patch`."
    assert "has no soft cap" in said[1]


def test_code_runs_only_where_somebody_agreed(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, configure(model__trust_remote_code=False))
    assert code == 3
    assert "'s own code" in said[0]
    assert "model.trust_remote_code" in said[1]


def test_reentrant_checkpointing_is_refused_on_several_gpus_only(
    configure: Configure, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train_splade import find_base
    from training_config import read_config

    snapshot = resolve(str(mini))
    plain = patch_model(make_plan(snapshot), snapshot, tmp_path / "plain", None).folder
    mended = patch_model(make_plan(snapshot, Options(checkpointing=True)), snapshot, tmp_path / "mended", None).folder

    def folder(base: Path) -> Path:
        path = configure(model__base_model=str(base), training__activation_checkpointing=True)
        return find_base(read_config(path)).root

    assert folder(plain) == plain
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert folder(mended) == mended
    with pytest.raises(SourceError, match="fails on several GPUs") as caught:
        folder(plain)
    assert "--checkpointing" in caught.value.hint


def test_a_base_without_weights_is_refused(
    configure: Configure, patched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (patched / "model.safetensors").unlink()
    _, said = run(capsys, configure(model__base_model=str(patched)))
    assert "has no weights: neither safetensors nor" in said[0]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json", "added.py"])
def test_a_patched_folder_that_was_edited_is_refused_before_any_row_is_read(
    configure: Configure, patched: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from train_splade import find_base
    from training_config import read_config

    path, config = patched / name, configure(model__base_model=str(patched), train__source="none.jsonl")
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    code, said = run(capsys, config)
    assert code == 3 and len(said) == 2
    what = "added" if name == "added.py" else "changed"
    assert said[0].startswith(f"Error: {patched} was edited since it was patched: ")
    assert said[0].endswith(f"; {what}: {name}.") and f"`patcher verify {patched}`" in said[1]
    (patched / "patch.json").unlink()
    assert find_base(read_config(config)).record is None, "as the hint says"


def test_a_base_whose_weights_are_not_those_that_the_hub_lists_is_refused(
    configure: Configure, patched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train_splade
    from training_config import read_config

    config = read_config(configure(model__base_model=str(patched)))
    monkeypatch.setattr(train_splade, "resolve", lambda base: listing_others(Path(base)))
    with pytest.raises(SourceError, match=r"model\.safetensors of .* is not the file that the Hub lists"):
        train_splade.find_base(config)


def test_what_this_machine_can_not_do_is_refused_before_any_data_is_read(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine can do them")
    for key, value in (("precision", "bf16"), ("fp16", True), ("bf16", True), ("tf32", True)):
        code, said = run(capsys, configure(**{f"training__{key}": value}, train__source="none.jsonl"))
        assert code == 2
        assert said[0].startswith("Error: training: ")
        assert "GPU" in said[0] or "tf32" in said[0]


def test_a_gpu_that_only_emulates_bf16_is_refused_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from training_trainer import gather_arguments

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    for wanted in ({"bf16": True}, {"precision": "bf16"}):
        with pytest.raises(ValueError, match="Tesla T4 does not compute in bf16"):
            gather_arguments({"output_dir": "out", **wanted})
    assert not gather_arguments({"output_dir": "out", "precision": "auto", "use_cpu": True}).bf16


def test_a_model_that_this_machine_can_not_run_is_refused_before_the_first_step(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as flash attention on a GPU that is too old for it."""
    from sentence_transformers import SparseEncoder

    def encode(*_: object, **__: object) -> None:
        raise RuntimeError("FlashAttention only supports\nAmpere GPUs or newer.")

    monkeypatch.setattr(SparseEncoder, "encode_query", encode)
    code, said = run(capsys, configure())
    assert code == 3
    assert said[-2] == (
        "Error: The model can't be run on ten rows: RuntimeError: FlashAttention only supports Ampere GPUs or newer."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training__learning_rate_mapping": {"nothing": 1e-3}}, "No parameters found matching the pattern 'nothing'"),
        (
            {"loss": {"base": "SparseDistillKLDivLoss"}, "train__columns": {**COLUMNS, "score": "score"}},
            "expects teacher scores of shape",
        ),
    ],
    ids=["optimizer", "loss"],
)
def test_what_the_first_rows_show_is_refused_before_the_evaluation(
    configure: Configure,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    reason: str,
) -> None:
    import train_splade

    scored = tmp_path / "scored.jsonl"
    row = {"query": "Hva er hovedstaden i Norge?", "positive": "Oslo er det.", "negative": "En hest.", "score": 2.0}
    scored.write_text((json.dumps(row) + "\n") * 4, "utf-8")
    monkeypatch.setattr(train_splade, "evaluate", lambda *_: pytest.fail("it evaluated"))
    code, said = run(capsys, configure(train__source=str(scored), **changes))
    assert code == 3
    assert said[-2].startswith("Error: The first rows can't be trained on: ValueError: ") and reason in said[-2]


def test_arguments_that_do_not_fit_each_other_are_refused(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, configure(training__save_steps=3))
    assert code == 2
    assert "the saving steps to be a round multiple of the evaluation steps" in said[0]


def test_a_disk_that_is_too_small_is_refused(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import training_trainer
    from train_splade import make_arguments
    from training_config import read_config

    from patcher.errors import OutputError

    model = torch.nn.Linear(1000, 1000, bias=False)  # 4 MB, 12 MB with Adam's moments
    arguments = make_arguments(read_config(configure()))
    usage = training_trainer.shutil.disk_usage
    for free, fits in ((39e6, False), (41e6, True)):  # two checkpoints, the one being written, and the model

        def measured(path: Path, free: float = free) -> object:
            return usage(path)._replace(free=int(free))

        monkeypatch.setattr(training_trainer.shutil, "disk_usage", measured)
        if fits:
            training_trainer.check_space(model, arguments)
        else:
            with pytest.raises(OutputError, match=r"needs 0\.0 GB for 3 checkpoints") as caught:
                training_trainer.check_space(model, arguments)
            assert "training.save_total_limit" in caught.value.hint


@pytest.fixture
def earlier_run(configure: Configure, tmp_path: Path) -> Path:
    """An output folder with a whole checkpoint of step 2 and one of step 4 that was cut short."""
    import yaml
    from training_config import read_config

    out = tmp_path / "out"
    (out / "checkpoint-2").mkdir(parents=True)
    (out / "checkpoint-2" / "trainer_state.json").write_text("{}")
    (out / "checkpoint-4").mkdir()
    (out / "training_config.yaml").write_text(yaml.safe_dump(read_config(configure()).written))
    return out


def test_a_checkpoint_that_was_cut_short_is_passed_over(configure: Configure, earlier_run: Path) -> None:
    from train_splade import last_checkpoint
    from training_config import read_config

    assert last_checkpoint(read_config(configure())) == str(earlier_run / "checkpoint-2")
    named = str(earlier_run / "checkpoint-9")
    assert last_checkpoint(read_config(configure(training__resume_from_checkpoint=named))) == named
    shutil.rmtree(earlier_run / "checkpoint-2")
    assert last_checkpoint(read_config(configure())) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__resume_from_checkpoint": False}, "holds checkpoints."),
        ({"train__columns": {"query": "positive"}}, "holds the checkpoints of a run with another datasets."),
        ({"model__pooling_strategy": "sum"}, "holds the checkpoints of a run with another model."),
        ({"loss__query_regularizer_weight": 1.0}, "holds the checkpoints of a run with another loss."),
    ],
)
def test_checkpoints_of_another_run_are_left_alone(
    configure: Configure,
    earlier_run: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    message: str,
) -> None:
    code, said = run(capsys, configure(**changes))
    assert code == 2
    assert message in said[0]
