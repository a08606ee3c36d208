"""What the training script refuses before it loads anything: bases, data and precision that would not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patcher.pipeline.api import patch_model
from patcher.planning.plan import make_plan
from patcher.planning.rewriting import Options
from patcher.source.snapshot import resolve
from tests.training.conftest import Configure


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
    assert code == 1
    assert len(said) == 2
    assert "still has its cap (`subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)`)" in said[0]
    assert f"Hint: Run `patcher patch {base} --out DIR`" in said[1]


def test_a_base_as_published_is_refused_even_where_caps_are_allowed(
    configure: Configure, mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, configure(model__base_model=str(mini)), "--allow-capped")
    assert code == 1
    assert said[0] == f"Error: {mini} loads wrong on transformers 5."
    assert "patcher patch" in said[1]


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
    assert code == 1
    assert "runs the own code of" in said[0]
    assert "model.trust_remote_code" in said[1]


def test_reentrant_checkpointing_is_refused_on_several_gpus_only(
    configure: Configure, mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train_splade import base_folder
    from training_config import read_config

    from patcher.errors import SourceError

    snapshot = resolve(str(mini))
    plain = patch_model(make_plan(snapshot), snapshot, tmp_path / "plain", None).folder
    mended = patch_model(make_plan(snapshot, Options(checkpointing=True)), snapshot, tmp_path / "mended", None).folder

    def folder(base: Path) -> Path:
        path = configure(model__base_model=str(base), training__gradient_checkpointing=True)
        return base_folder(read_config(path))

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
    assert "has no safetensors weights" in said[0]


@pytest.mark.parametrize(
    ("lines", "changes", "message"),
    [
        (None, {}, "can't be read: No such file or directory."),
        (["{"], {}, "rows.jsonl:1 is no JSON object."),
        (['{"query": "a", "positive": "b"}'], {}, "has no column negative in row 1."),
        ([], {}, "no row of"),
        (['{"query": "a", "positive": "", "negative": "c"}'], {}, "no row of"),
        (
            ['{"query": "a", "positive": "b", "negative": "c"}'],
            {"data__train_filter": {"language": "norwegian"}},
            "has no column language in row 1.",
        ),
    ],
)
def test_training_data_that_would_not_do_is_refused(
    configure: Configure, tmp_path: Path, lines: list[str] | None, changes: dict[str, object], message: str
) -> None:
    from training_config import read_config
    from training_data import training_rows

    from patcher.errors import SourceError

    path = tmp_path / "rows.jsonl"
    if lines is not None:
        path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(SourceError) as caught:
        training_rows(read_config(configure(data__train=str(path), **changes)).data)
    assert caught.value.message.startswith("data.train: ")
    assert message in caught.value.message


def test_rows_are_kept_by_the_filter_and_only_with_all_their_texts(configure: Configure, tmp_path: Path) -> None:
    from training_config import read_config
    from training_data import training_rows

    path = tmp_path / "rows.jsonl"
    rows = [
        {"anchor": "en", "positive": "1", "negative": "x", "language": "norwegian"},
        {"anchor": "en", "positive": "1", "negative": "x", "language": "danish"},
        {"anchor": "to", "positive": "2", "negative": None, "language": "norwegian"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    wanted = {"data__columns": ["anchor", "positive", "negative"], "data__train_filter": {"language": "norwegian"}}
    found = training_rows(read_config(configure(data__train=str(path), **wanted)).data)
    assert found == [{"anchor": "en", "positive": "1", "negative": "x"}]


def test_the_evaluation_takes_the_bundled_questions_or_a_file(configure: Configure, tmp_path: Path) -> None:
    from training_config import read_config
    from training_data import make_evaluator

    from patcher.verify.texts import load_questions

    questions = load_questions()
    bundled = make_evaluator(read_config(configure(data__eval=None)).data, 8)
    assert sorted(bundled.queries) == sorted({question.query for question in questions})
    assert set(bundled.corpus) == {text for one in questions for text in (one.positive, *one.negatives)}

    path = tmp_path / "eval.jsonl"
    rows = [
        {"query": "a", "positive": "1", "negatives": ["2", "3"]},
        {"query": "a", "positive": "2", "negative": "4"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    own = make_evaluator(read_config(configure(data__eval=str(path))).data, 8)
    assert (own.queries, sorted(own.corpus)) == (["a"], ["1", "2", "3", "4"])
    assert [sorted(own.corpus[own.corpus_ids.index(key)] for key in keys) for keys in own.relevant_docs.values()] == [
        ["1", "2"]
    ]


def test_a_precision_that_the_device_can_not_do_is_refused(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine can do them")
    for wanted in ("bf16", "fp16"):
        code, said = run(capsys, configure(training__precision=wanted))
        assert code == 2
        assert said[0] == f"Error: training.precision is {wanted}, which this machine can't do."


@pytest.fixture
def earlier_run(configure: Configure, tmp_path: Path) -> Path:
    """An output folder with a whole checkpoint of step 2 and one of step 4 that was cut short."""
    from dataclasses import asdict

    import yaml
    from training_config import read_config

    out = tmp_path / "out"
    (out / "checkpoint-2").mkdir(parents=True)
    (out / "checkpoint-2" / "trainer_state.json").write_text("{}")
    (out / "checkpoint-4").mkdir()
    (out / "training_config.yaml").write_text(yaml.safe_dump(asdict(read_config(configure()))))
    return out


def test_a_checkpoint_that_was_cut_short_is_passed_over(configure: Configure, earlier_run: Path) -> None:
    from train_splade import last_checkpoint
    from training_config import read_config

    assert last_checkpoint(read_config(configure())) == str(earlier_run / "checkpoint-2")
    shutil.rmtree(earlier_run / "checkpoint-2")
    assert last_checkpoint(read_config(configure())) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__resume": False}, "holds checkpoints."),
        ({"data__columns": ["query", "positive"]}, "holds the checkpoints of a run with another data."),
        ({"model__pooling_strategy": "sum"}, "holds the checkpoints of a run with another model."),
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
