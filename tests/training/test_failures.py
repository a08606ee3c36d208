"""What a run that went wrong says and leaves: nothing that is not finite, and no collapse without its name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import Configure
from tests.training.test_train import TEXTS

EACH_STEP = {"training__eval_steps": 1, "training__save_steps": 1}


def run(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code, and the two lines of the error."""
    from train_splade import main

    code = main([str(path)])
    said = capsys.readouterr()
    assert said.out == "", "there is no result"
    return code, said.err.splitlines()[-2:]


def test_a_loss_that_is_not_finite_ends_the_run_at_once(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (error, hint) = run(configure(loss__options={"scale": 1e39}), capsys)
    assert code == 3
    assert error.startswith("Error: The loss is nan at step 1.") or "is inf at step 1." in error
    assert hint.startswith("Hint: No checkpoint had been saved.")
    assert not list((tmp_path / "out").glob("*final*"))


def test_a_gradient_that_is_not_finite_ends_the_run_before_its_step_is_taken(
    configure: Configure, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import train_splade

    make_model, models = train_splade.make_model, []

    def hooked(*args: Any) -> Any:
        models.append(make_model(*args))
        next(models[0].parameters()).register_hook(lambda gradient: gradient * float("inf"))
        return models[0]

    monkeypatch.setattr(train_splade, "make_model", hooked)
    code, (error, _) = run(configure(), capsys)
    assert code == 3
    assert error.startswith("Error: The norm of the gradients is ")
    assert all(torch.isfinite(weights).all() for weights in models[0].parameters())


def test_weights_that_are_not_finite_are_not_saved_and_the_last_good_checkpoint_stays(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first step has a learning rate of zero, and the second multiplies every weight by -1e43.
    explodes = {"training__weight_decay": 1e35, "training__learning_rate": 1e8}
    code, (error, hint) = run(configure(**EACH_STEP, **explodes), capsys)
    assert code == 3
    assert "are not finite, so nothing was saved." in error
    assert f"{tmp_path / 'out' / 'checkpoint-1'} is the last good checkpoint." in hint
    [kept] = (path.parent for path in (tmp_path / "out").glob("checkpoint-*/*.safetensors"))
    assert all(torch.isfinite(tensor).all() for tensor in load_file(kept / "model.safetensors").values())
    assert not list((tmp_path / "out").glob("*final*"))


def with_bias(base: Path, out: Path, bias: torch.Tensor) -> Path:
    """The base with this bias added to its logits."""
    shutil.copytree(base, out)
    tensors = load_file(out / "model.safetensors")
    tensors["classifier.emb2vocab.bias"] += bias
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.mark.parametrize(
    ("bias", "said"),
    [
        (torch.full((8192,), 1e4), "all 8192 dimensions of every query are active"),
        (torch.full((8192,), -1e4), "every query has the same 1 active dims"),  # that of the first token, always one
    ],
    ids=["dense", "empty"],
)
def test_a_collapse_is_named_and_the_model_is_not_pushed(
    configure: Configure,
    bases: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bias: torch.Tensor,
    said: str,
) -> None:
    base = with_bias(bases["patched"], tmp_path / f"base-{tmp_path.name}", bias)
    steps = {"training__max_steps": 1, **EACH_STEP}
    code, (error, hint) = run(configure(model__base_model=str(base), **steps), capsys)
    assert code == 1
    assert error == f"Error: The model in {tmp_path / 'out' / 'out-final'} has collapsed: {said}. It was not pushed."
    assert "loss.document_regularizer_weight" in hint


def test_embeddings_that_differ_are_no_collapse(bases: dict[str, Path]) -> None:
    from sentence_transformers import SparseEncoder
    from training_trainer import collapse_of

    model = SparseEncoder(str(bases["patched"]), trust_remote_code=True, device="cpu")
    assert collapse_of(model, TEXTS, TEXTS, allow_dense=False) is None
    assert collapse_of(model, TEXTS[:1], TEXTS[:1], allow_dense=False) is None
