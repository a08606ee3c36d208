"""What a run that went wrong says and leaves: nothing that is not finite, and no collapse without its name."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.errors import PatcherError
from tests.training.conftest import Configure
from tests.training.test_train import TEXTS, figures, interrupted_at, log, same, weights

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
    """The base with this bias added to its logits; no longer what its record says."""
    shutil.copytree(base, out)
    (out / "patch.json").unlink()
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


def test_what_fails_in_the_training_or_after_it_costs_no_step_that_was_saved(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command, run until it succeeds: no card, out of memory at step 3, a full disk at the end."""
    import train_splade
    from training_trainer import SpladeTrainer

    path, out, write_record = configure(), tmp_path / "out", train_splade.write_record
    missing = ModuleNotFoundError("No module named 'datasets'")
    full = OSError(errno.ENOSPC, "No space left on device")

    def failing(error: Exception, allowed: int) -> Any:
        """write_record, which fails after so many calls. The first call is the rehearsal."""
        calls: list[Path] = []

        def write(model: Any, folder: Path, *rest: Any) -> None:
            calls.append(folder)
            if len(calls) > allowed:
                raise error
            write_record(model, folder, *rest)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(train_splade, "write_record", failing(missing, 0))
        patch.setattr(SpladeTrainer, "train", lambda *_, **__: pytest.fail("it trained"))
        code, (error, _) = run(path, capsys)
        assert code == 3
        assert error == f"Error: The record and the card can't be written: ModuleNotFoundError: {missing}"

    with monkeypatch.context() as patch:
        patch.setattr(SpladeTrainer, "training_step", interrupted_at(3, torch.OutOfMemoryError("CUDA out of memory.")))
        code, (error, hint) = run(path, capsys)
        assert code == 3
        assert error == "Error: The training stopped: OutOfMemoryError: CUDA out of memory."
        assert hint == f"Hint: The same command resumes from {out / 'checkpoint-2'}."

    with monkeypatch.context() as patch:
        patch.setattr(train_splade, "write_record", failing(full, 1))
        code, (error, hint) = run(path, capsys)
        final = out / "out-final"
        assert code == 3
        assert error == f"Error: The trained weights are saved in {final}, but a later step failed: OSError: {full}"
        assert hint == "Hint: The same command completes it, without training again."
        assert (final / "modules.json").is_file() and not (final / "training.json").exists()
        saved = weights(final)

    with monkeypatch.context() as patch:
        patch.setattr(SpladeTrainer, "train", lambda *_, **__: pytest.fail("it trained again"))
        assert train_splade.main([str(path)]) == 0
    found = figures(out)
    assert same(weights(final), saved) and same(saved, weights(out / f"checkpoint-{found['best_step']}"))
    assert (found["steps"], [one["step"] for one in found["during"]]) == (4, [2, 4])
    assert {"step": found["best_step"], **found["after"]} in found["during"]
    assert (final / "training.json").is_file()

    assert train_splade.main([str(configure(training__max_steps=6))]) == 0, "more steps are trained"
    assert [entry["step"] for entry in log(out / "checkpoint-6") if "loss" in entry] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("free", [9_000, 9_000_000])
def test_a_checkpoint_that_does_not_fit_is_told_as_a_full_disk(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    import train_splade
    from training_config import read_config

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(train_splade.shutil, "disk_usage", lambda _: usage._replace(free=free))
    config, error = read_config(configure()), "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 8"
    config.output_dir.mkdir()
    with pytest.raises(PatcherError) as caught, train_splade.explain_stop(config):
        raise RuntimeError(error)
    full = f"the disk of {config.output_dir} is full (RuntimeError: {error})"
    assert caught.value.message == f"The training stopped: {full if free < 1e6 else f'RuntimeError: {error}'}"
    assert caught.value.hint.startswith("Free space on it." if free < 1e6 else "No checkpoint")


def test_a_push_that_is_refused_leaves_the_model_and_names_the_command_that_pushes_it(configure: Configure) -> None:
    from train_splade import push
    from training_config import read_config

    def push_to_hub(*_: Any, **__: Any) -> None:
        raise ConnectionError("refused")

    config = read_config(configure())
    arguments = SimpleNamespace(push_to_hub=True, hub_model_id="ola/trained", hub_private_repo=True)
    trainer = SimpleNamespace(model=SimpleNamespace(push_to_hub=push_to_hub), args=arguments)
    with pytest.raises(PatcherError) as caught:
        push(trainer, config, None)
    assert caught.value.exit_code == 3
    assert caught.value.message.endswith(f"The model in {config.final} is complete, but was not pushed.")
    assert caught.value.hint.endswith(f"Then `patcher publish {config.final} ola/trained --private` pushes it.")


def test_embeddings_that_differ_are_no_collapse(bases: dict[str, Path]) -> None:
    from sentence_transformers import SparseEncoder
    from training_trainer import collapse_of

    model = SparseEncoder(str(bases["patched"]), trust_remote_code=True, device="cpu")
    assert collapse_of(model, TEXTS, TEXTS, allow_dense=False) is None
    assert collapse_of(model, TEXTS[:1], TEXTS[:1], allow_dense=False) is None
