"""Fine-tunes a patched base into a SPLADE model with sentence-transformers, as training_config.yaml says.

    python templates/train_splade.py templates/training_config.yaml --training.epochs=2
    accelerate launch templates/train_splade.py templates/training_config.yaml

Fills training.output_dir with checkpoints, with evaluation.json (retrieval and sparsity before, during and after)
and with `final`, the trained model with all the code it needs. training_config.py and training_data.py belong to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from training_config import Config, read_config
from training_data import make_evaluator, training_rows

from patcher.errors import CodeError, PatcherError, SourceError, TrustRequired, UsageError
from patcher.planning.plan import make_plan
from patcher.planning.rewriting import Options
from patcher.source.snapshot import fetch, resolve, weights

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

FIGURES = (
    *("dot_ndcg@10", "dot_mrr@10", "dot_accuracy@1", "avg_flops"),
    *("query_sparsity_ratio", "corpus_sparsity_ratio", "query_active_dims", "corpus_active_dims"),
)


def base_folder(config: Config, allow_capped: bool = False) -> Path:
    """The base on this machine, at one revision, once its code is known to be fit for training. Runs none of it.

    Loading from the folder makes code and weights those of this one revision.
    Raises SourceError for a base that is capped, loads wrong on transformers 5 or can't be trained on several GPUs.
    """
    base = config.model.base_model
    snapshot = resolve(base)
    try:
        plan = make_plan(snapshot, Options(checkpointing=True))
    except CodeError as error:
        hint = f"Train on the output of `patcher patch`. The patcher said: {error.message}"
        raise SourceError(f"{base} was not written by `patcher patch`.", hint) from error
    missing = {result.name for result in plan.codemods if result.status == "applied"}
    patch = f"Run `patcher patch {base} --out DIR` and set model.base_model to DIR."
    if "soft_cap" in missing and not allow_capped:
        cap = plan.soft_cap.expression
        raise SourceError(f"{base} still has its cap (`{cap}`): no dimension can become zero.", patch)
    if missing - {"soft_cap", "checkpointing"}:
        raise SourceError(f"{base} loads wrong on transformers 5.", patch)
    if "checkpointing" in missing and config.training.gradient_checkpointing and _processes() > 1:
        hint = patch.replace("--out", "--checkpointing --out")
        raise SourceError(f"The gradient checkpointing of {base} fails on several GPUs.", hint)
    root = fetch(snapshot, [*plan.files.changed, *plan.files.copied, *weights(snapshot)]).root
    assert root is not None
    return root


def precision(config: Config) -> str:
    """fp32, bf16 or fp16; refuses what this device can't do."""
    import torch

    wanted, gpu = config.training.precision, torch.cuda.is_available()
    able = {"fp32", *(["fp16"] if gpu else []), *(["bf16"] if gpu and torch.cuda.is_bf16_supported() else [])}
    if wanted == "auto":
        return "bf16" if "bf16" in able else "fp32"
    if wanted not in able:
        raise UsageError(f"training.precision is {wanted}, which this machine can't do.", "Set it to auto or fp32.")
    return wanted


def make_model(folder: Path, config: Config) -> SparseEncoder:
    """The base with SPLADE pooling; with the router queries get one learned weight per token instead."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    trust = {"trust_remote_code": True}
    base = Transformer(
        str(folder),
        transformer_task="fill-mask",
        model_kwargs={"dtype": torch.float32, **trust},
        processor_kwargs=trust,
        config_kwargs=trust,
        max_seq_length=config.training.max_seq_length,
    )
    modules: list[Any] = [base, SpladePooling(config.model.pooling_strategy)]
    if config.model.use_router:
        modules = [Router.for_query_document([SparseStaticEmbedding(base.tokenizer)], modules)]
    return SparseEncoder(modules=modules, similarity_fn_name="dot", trust_remote_code=True)


def make_trainer(model: SparseEncoder, config: Config, evaluator: Any, mode: str) -> Any:
    import torch
    from datasets import Dataset
    from sentence_transformers import SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import (
        SpladeRegularizerWeightSchedulerCallback,
    )
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    wanted, columns, router = config.training, config.data.columns, config.model.use_router
    loss = SpladeLoss(
        model,
        SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=wanted.document_regularizer_weight,
        query_regularizer_weight=None if router else wanted.query_regularizer_weight,
    )
    arguments = SparseEncoderTrainingArguments(
        output_dir=wanted.output_dir,
        num_train_epochs=wanted.epochs,
        max_steps=wanted.max_steps or -1,
        per_device_train_batch_size=wanted.batch_size,
        per_device_eval_batch_size=wanted.batch_size,
        gradient_accumulation_steps=wanted.gradient_accumulation_steps,
        gradient_checkpointing=wanted.gradient_checkpointing or None,  # False is deprecated, leaving it out is not
        learning_rate=wanted.learning_rate,
        learning_rate_mapping={r"sub_modules\.query\.": wanted.query_learning_rate} if router else {},
        warmup_steps=wanted.warmup_ratio,
        bf16=mode == "bf16",
        fp16=mode == "fp16",
        seed=wanted.seed,
        batch_sampler="no_duplicates",  # a passage that answers two queries of a batch would count as wrong for one
        router_mapping={name: "document" for name in columns[1:]} | {columns[0]: "query"} if router else {},
        logging_steps=wanted.logging_steps,
        eval_strategy="steps",
        eval_steps=wanted.eval_steps,
        save_strategy="steps",
        save_steps=wanted.save_steps,
        save_total_limit=2,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
    )
    return SparseEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(training_rows(config.data)),
        loss=loss,
        evaluator=evaluator,
        callbacks=[SpladeRegularizerWeightSchedulerCallback(loss)],
    )


def last_checkpoint(config: Config) -> str | None:
    """The last whole checkpoint, where training.resume asks for it. Raises UsageError when it is of another run."""
    out = Path(config.training.output_dir)
    # trainer_state.json is the last file that the trainer writes.
    whole = sorted(out.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name.split("-")[1]))
    if not whole:
        return None
    if not config.training.resume:
        raise UsageError(f"{out} holds checkpoints.", "Set training.resume to true, or another training.output_dir.")
    settings = out / "training_config.yaml"
    before = yaml.safe_load(settings.read_text("utf-8")) if settings.is_file() else {}
    for section in ("model", "data"):
        if before.get(section) != asdict(config)[section]:
            hint = f"Undo the change in {section}, or choose another training.output_dir."
            raise UsageError(f"{out} holds the checkpoints of a run with another {section}.", hint)
    return str(whole[-1].parent)


def train(config: Config, allow_capped: bool = False) -> dict[str, Any]:
    """Train, evaluate and save; returns what evaluation.json holds."""
    if not config.model.trust_remote_code:
        hint = "Read it with `patcher plan`, then set model.trust_remote_code to true."
        raise TrustRequired(f"Training runs the own code of {config.model.base_model}.", hint)
    folder, checkpoint = base_folder(config, allow_capped), last_checkpoint(config)
    mode = precision(config)
    from transformers import set_seed

    set_seed(config.training.seed)
    model = make_model(folder, config)
    evaluator = make_evaluator(config.data, config.training.batch_size)
    trainer = make_trainer(model, config, evaluator, mode)
    out, main = Path(config.training.output_dir), trainer.is_world_process_zero()
    if main:
        out.mkdir(parents=True, exist_ok=True)
        (out / "training_config.yaml").write_text(yaml.safe_dump(asdict(config), sort_keys=False), "utf-8")
    before = evaluator(model)
    trainer.train(resume_from_checkpoint=checkpoint)
    during = [entry for entry in trainer.state.log_history if f"eval_{FIGURES[0]}" in entry]
    found = {
        "before": _figures(before),
        "during": [{"step": entry["step"], **_figures(entry)} for entry in during],
        "after": _figures(evaluator(model)),
        "steps": trainer.state.global_step,
        "precision": mode,
    }
    if main:
        (out / "evaluation.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
        save(model, out / "final")
        if config.hub.push_to_hub:
            assert config.hub.repo_id is not None
            model.push_to_hub(
                config.hub.repo_id, private=config.hub.private, local_model_path=str(out / "final"), exist_ok=True
            )
    return found


def save(model: SparseEncoder, folder: Path) -> None:
    """Save the model, and its code at the top too: transformers looks for it there, also for a route's sub-folder."""
    model.save_pretrained(str(folder))
    for code in folder.glob("*/*.py"):
        shutil.copyfile(code, folder / code.name)


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(metrics[f"eval_{name}"]) for name in FIGURES}


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="such a file as training_config.yaml")
    parser.add_argument("--allow-capped", action="store_true", help="train a base that still has its cap, to compare")
    options, overrides = parser.parse_known_args(argv)
    try:
        with redirect_stdout(sys.stderr):  # the trainer prints its log there; stdout is for the result
            found = train(read_config(options.config, overrides), options.allow_capped)
    except PatcherError as error:
        print(f"Error: {error.message}\nHint: {error.hint}", file=sys.stderr)
        return error.exit_code
    if os.environ.get("RANK", "0") == "0":
        for name in FIGURES:
            print(f"{name:<24}{found['before'][name]:>10.4f} -> {found['after'][name]:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
