# /// script
# requires-python = ">=3.10"
# dependencies = ["splade-patcher[train]"]
# ///
"""Fine-tunes a patched base into a SPLADE model with sentence-transformers, as configured.

    python templates/train_splade.py templates/training_config.yaml --training.num_train_epochs=2
    accelerate launch templates/train_splade.py norbert4-base

The configuration is a YAML file, or the name of one in `configs`. Fills training.output_dir with checkpoints, with
evaluation.json (retrieval and sparsity before, during and after) and with the trained model, which has all the code
that it needs. The modules training_*.py and splade_router.py belong to it, and are found beside it or in the package.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

_PACKAGES = {"yaml": "pyyaml", "accelerate": "accelerate", "datasets": "datasets"}
_PACKAGES["sentence_transformers"] = "'sentence-transformers>=6,<7'"
if _missing := [name for module, name in _PACKAGES.items() if find_spec(module) is None]:
    print(f"Error: Training needs {', '.join(_missing)}, which this Python does not have.", file=sys.stderr)
    print(f"Hint: pip install {' '.join(_missing)}", file=sys.stderr)
    raise SystemExit(3)

import yaml

from patcher.constants import CARD, RECORD, REPAIRS
from patcher.documents.templating import templates
from patcher.errors import CodeError, PatcherError, PublishError, SourceError, TrustRequired, UsageError, see
from patcher.planning.files import check_loadable
from patcher.planning.layout import find_layout, loaded_folders, loaded_weights
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.hub_errors import explained
from patcher.source.snapshot import fetch_checked, resolve
from patcher.verify.checks import files_unchanged
from patcher.verify.verification import hash_folder

sys.path.append(str(templates()))  # the neighbours, where this file was copied or sent away alone

from training_aliases import QUERY_WEIGHTS
from training_config import Config, Loss, known, read_config, whole_checkpoints
from training_data import QUERY, SCORE, Rows, read_sets, say_counts
from training_evaluation import FIGURES, figures, make_evaluator, texts_of, try_evaluator
from training_record import Base, gather_facts, write_record

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

QUERY_RATE = 1e-3  # one weight for each token learns nothing at the rate of a transformer
FULL = 1_000_000  # bytes: what a file that did not fit leaves of a disk
SETTINGS, EVALUATION = "training_config.yaml", "evaluation.json"
STATE = "trainer_state.json"  # in the output folder itself: the training is over, and its weights are saved


def find_base(config: Config, *, allow_capped: bool = False) -> Base:
    """The base on this machine, at one revision, once its code is known to be fit for training. Runs none of it.

    Loading from the folder makes code and weights those of this one revision.
    Raises SourceError for a base that is capped, loads wrong on transformers 5 or can't be trained on several GPUs, and
    for a folder whose files are no longer those of its record, which the trained model's card would name as its source.
    """
    base = config.model.base_model
    snapshot = resolve(base)
    try:
        # A model that was trained through a cap can be trained on with it alone: its plan has the repairs only.
        codemods = (*REPAIRS, "checkpointing") if allow_capped else ()
        plan = make_plan(snapshot, Options(checkpointing=True, codemods=codemods))
    except CodeError as error:
        hint = f"Train on the output of `patcher patch`. The patcher said: {error.message}"
        raise SourceError(f"{base} was not written by `patcher patch`.", hint) from error
    except SourceError as error:
        if allow_capped or find_layout(snapshot) is None:
            raise
        hint = f"{error.hint} --allow-capped continues training it with its cap."
        raise SourceError(error.message, hint) from error
    missing = {result.name for result in plan.codemods if result.status == "applied"} - {"max_length"}
    patch = f"Run `patcher patch {base} --out DIR` and set model.base_model to DIR."
    if "soft_cap" in missing:
        cap = plan.soft_cap.expression
        raise SourceError(f"{base} still has its cap (`{cap}`): no dimension can become zero.", patch)
    if missing - {"checkpointing"}:
        # `patcher patch` takes the cap off, and refuses where a model was trained already.
        repair = patch.replace("patcher patch", "patcher repair") if allow_capped or find_layout(snapshot) else patch
        raise SourceError(f"{base} loads incorrectly on transformers 5.", repair)
    wanted = config.training.get("gradient_checkpointing") or config.training.get("activation_checkpointing")
    if "checkpointing" in missing and wanted and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        hint = patch.replace("--out", "--checkpointing --out")
        raise SourceError(f"The gradient checkpointing of {base} fails on several GPUs.", hint)
    check_loadable(snapshot, loaded_weights(snapshot, plan.encoders or ("",)), pickled=False)
    documents = [name for name in (RECORD, CARD) if name in snapshot.paths]
    root = fetch_checked(snapshot, [*plan.files.changed, *plan.files.copied, *documents]).root
    assert root is not None
    found = Base(root, snapshot.source)
    record = found.record
    if snapshot.source.folder is not None and record is not None:  # the Hub's files are those of their commit
        folders = loaded_folders(root, [file.path for file in record.files])
        unchanged = files_unchanged(record, hash_folder(root), folders)
        if not unchanged.passed:
            hint = f"Run `patcher verify {base}`. Without {RECORD} the folder is a base of its own."
            raise SourceError(f"{base} was edited since it was patched: {unchanged.detail}.", hint)
    return found


def make_model(folder: Path, config: Config) -> SparseEncoder:
    """The base with SPLADE pooling; with the router queries get one learned weight per token instead.

    A base that is a trained SPLADE model goes on as it is. Raises UsageError where it is of another kind than `model`.
    """
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
    from splade_router import Router

    wanted = config.model
    if (folder / "modules.json").is_file():
        model = SparseEncoder(str(folder), trust_remote_code=True, model_kwargs={"dtype": torch.float32})
        is_router = any(isinstance(module, SparseStaticEmbedding) for module in model.modules())
        strategies = {module.pooling_strategy for module in model.modules() if isinstance(module, SpladePooling)}
        if len(strategies) != 1:
            found = f"pools with {', '.join(sorted(strategies))}" if strategies else "has no SpladePooling"
            why = f"{wanted.base_model} {found}."
            raise UsageError(why, "Start from the base that it was trained on.")
        [pooling] = strategies
        for key, value in (("use_router", is_router), ("pooling_strategy", pooling)):
            if getattr(wanted, key) != value:
                hint = f"Set model.{key} to {value}, or start from the base that it was trained on."
                raise UsageError(f"{wanted.base_model} is a trained model with {key} {value}.", hint)
        model.max_seq_length = wanted.max_seq_length
        return model
    trust = {"trust_remote_code": True}
    base = Transformer(
        str(folder),
        transformer_task="fill-mask",
        model_kwargs={"dtype": torch.float32, **trust},
        processor_kwargs=trust,
        config_kwargs=trust,
        max_seq_length=wanted.max_seq_length,
    )
    modules: list[Any] = [base, SpladePooling(wanted.pooling_strategy)]
    if wanted.use_router:
        modules = [Router.for_query_document([SparseStaticEmbedding(base.tokenizer)], modules)]
    return SparseEncoder(modules=modules, similarity_fn_name="dot", trust_remote_code=True)


def make_loss(model: SparseEncoder, wanted: Loss, *, router: bool) -> Any:
    """The library's SPLADE loss around the loss that `wanted` names. A router's queries need no regularizer."""
    from sentence_transformers.sparse_encoder import losses

    base = getattr(losses, wanted.base)
    known(
        "key",
        [f"loss.options.{key}" for key in wanted.options],
        [f"loss.options.{key}" for key in inspect.signature(base).parameters],
    )
    return getattr(losses, wanted.type)(
        model,
        base(model, **wanted.options),
        document_regularizer_weight=wanted.document_regularizer_weight,
        query_regularizer_weight=None if router else wanted.query_regularizer_weight,
        **({"mini_batch_size": wanted.mini_batch_size} if wanted.type == "CachedSpladeLoss" else {}),
    )


def make_arguments(config: Config) -> Any:
    """The library's training arguments. Raises UsageError for what this machine, or the library, can't do."""
    from training_trainer import gather_arguments

    values = dict(config.training)
    if config.model.use_router:
        values.setdefault("learning_rate_mapping", {QUERY_WEIGHTS: QUERY_RATE})
    values["resume_from_checkpoint"] = None  # found by last_checkpoint
    try:
        return gather_arguments(values)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise refused_key(error) from error


def make_trainer(
    model: SparseEncoder, config: Config, arguments: Any, rows: Rows, evaluator: Any, *, allow_capped: bool
) -> Any:
    from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import SpladeRegularizerWeightSchedulerCallback
    from training_trainer import SpladeTrainer
    from transformers import EarlyStoppingCallback

    router, wanted = config.model.use_router, config.evaluation
    sets = {one.name: one for one in config.datasets if one.name in rows.train}
    own = any(one.loss for one in sets.values())
    losses = {name: make_loss(model, config.loss_of(one), router=router) for name, one in sets.items()} if own else {}
    shared = make_loss(model, config.loss, router=router)
    callbacks: list[Any] = [
        SpladeRegularizerWeightSchedulerCallback(loss, how.regularizer_scheduler, how.regularizer_warmup_ratio)
        for loss, how in (
            [(losses[n], config.loss_of(one)) for n, one in sets.items()] if own else [(shared, config.loss)]
        )
    ]
    if wanted.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(wanted.early_stopping_patience, wanted.early_stopping_threshold))
    try:
        return SpladeTrainer(
            model=model,
            args=arguments,
            train_dataset=dict(rows.train) if len(rows.train) > 1 or own else next(iter(rows.train.values())),
            loss=losses or shared,
            evaluator=evaluator,
            callbacks=callbacks,
            probe=texts_of(evaluator),
            allow_dense=allow_capped,
        )
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise refused_key(error) from error


def refused_key(error: Exception) -> UsageError:
    """The error for a value of the section training that the library does not take."""
    return UsageError(f"training: {' '.join(str(error).split())}", "Change that key in the section training.")


def last_checkpoint(config: Config) -> str | None:
    """The checkpoint to go on from: the one that is named, or the last whole one. Raises UsageError."""
    out, wanted = config.output_dir, str(config.training.get("resume_from_checkpoint", "true"))
    if wanted.lower() not in ("true", "no"):  # `false` of YAML has become `no`
        return wanted
    whole = whole_checkpoints(out)
    if not whole:
        return None
    if wanted.lower() == "no":
        hint = "Set training.resume_from_checkpoint to true, or another training.output_dir." + see("checkpoints")
        raise UsageError(f"{out} holds checkpoints.", hint)
    before = yaml.safe_load((out / SETTINGS).read_text("utf-8")) if (out / SETTINGS).is_file() else {}
    for section in ("model", "datasets", "loss"):
        if before.get(section) != config.written[section]:
            hint = f"Undo the change in {section}, or choose another training.output_dir."
            raise UsageError(f"{out} holds the checkpoints of a run with another {section}.", hint)
    return str(whole[-1])


def check_target(arguments: Any) -> None:
    """Make the repository, and raise what the Hub says where this user can't write to it, hours before the push."""
    from huggingface_hub import HfApi

    if arguments.push_to_hub and is_first():
        with explained(arguments.hub_model_id):
            HfApi().create_repo(arguments.hub_model_id, private=arguments.hub_private_repo, exist_ok=True)
            HfApi().auth_check(arguments.hub_model_id, write=True)


def complete_arguments(arguments: Any, config: Config, rows: Rows, model: SparseEncoder, evaluator: Any) -> None:
    """Set what depends on the rows and on the evaluation: the router's columns, and the metric of the best step."""
    if config.model.use_router and not arguments.router_mapping:
        columns = dict.fromkeys(name for one in rows.train.values() for name in one.column_names if name != SCORE)
        arguments.router_mapping = {name: "query" if name == QUERY else "document" for name in columns}
    with explain_trial("The model can't be run on ten rows"):  # flash attention, or memory, that a GPU does not have
        arguments.metric_for_best_model = try_evaluator(model, evaluator, config.training.get("metric_for_best_model"))
    arguments.greater_is_better = config.training.get("greater_is_better", True)


def train(config: Config, *, allow_capped: bool = False) -> dict[str, Any]:
    """Train, evaluate, save and push; returns what evaluation.json holds, in the first process."""
    if not config.model.trust_remote_code:
        hint = "Read it with `patcher plan`, then set model.trust_remote_code to true."
        raise TrustRequired(f"Training runs {config.model.base_model}'s own code.", hint)
    base, checkpoint = find_base(config, allow_capped=allow_capped), last_checkpoint(config)
    trained = is_trained(config)
    arguments = make_arguments(config)
    check_target(arguments)
    from training_trainer import check_space
    from transformers import set_seed

    set_seed(arguments.seed)
    rows, out = read_sets(config), config.output_dir
    model, evaluator = make_model(base.root, config), make_evaluator(config, rows)
    complete_arguments(arguments, config, rows, model, evaluator)
    check_space(model, arguments)
    trainer = make_trainer(model, config, arguments, rows, evaluator, allow_capped=allow_capped)
    with explain_trial("The first rows can't be trained on"):
        trainer.try_first_rows()
    if is_first():
        say_counts(rows.counts)
        out.mkdir(parents=True, exist_ok=True)
        if not trained:
            (out / STATE).unlink(missing_ok=True)
        (out / SETTINGS).write_text(yaml.safe_dump(config.written, sort_keys=False, allow_unicode=True), "utf-8")
    before = evaluate(trainer)
    facts = gather_facts(config, base, rows.counts) if is_first() else {}
    rehearse(trainer, config, base, {**facts, **summary(trainer, before, before)})
    with explain_stop(config):
        train_or_load(trainer, config, checkpoint, trained=trained)
    with explain_incomplete(config):
        after = evaluate(trainer)
        if not is_first():
            return {}
        found = {**summary(trainer, before, after), "rows": rows.counts, "model": config.final.name}
        write_record(trainer.model, config.final, config, base, {**facts, **found})
        (out / EVALUATION).write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    push(trainer, config, found["collapse"])
    return found


def is_trained(config: Config) -> bool:
    """Whether a run with these very settings trained to its end already, and only the rest is missing."""
    out = config.output_dir
    if not all(path.is_file() for path in (out / STATE, out / SETTINGS, config.final / "modules.json")):
        return False
    wanted = str(config.training.get("resume_from_checkpoint", "true")).lower()
    return wanted == "true" and yaml.safe_load((out / SETTINGS).read_text("utf-8")) == config.written


def rehearse(trainer: Any, config: Config, base: Base, record: Mapping[str, Any]) -> None:
    """Write the record and the card once before the first step: what they need is missed now, not hours later."""
    if not is_first():
        return
    with explain_trial("The record and the card can't be written"), tempfile.TemporaryDirectory() as folder:
        write_record(trainer.model, Path(folder), config, base, record)


def train_or_load(trainer: Any, config: Config, checkpoint: str | None, *, trained: bool) -> None:
    """Train and save the weights before all else; where that was done, only load them."""
    state = config.output_dir / STATE
    if trained:
        trainer.state = type(trainer.state).load_from_json(str(state))
        trainer._load_from_checkpoint(str(config.final))
        return
    trainer.train(resume_from_checkpoint=checkpoint)
    if is_first():
        save_weights(trainer.model, config.final)
        trainer.state.save_to_json(str(state))


def save_weights(model: SparseEncoder, final: Path) -> None:
    """Save the model beside its place and rename it in: an earlier one is replaced by a whole one or not at all."""
    from training_trainer import check_weights

    check_weights(model, "Start again from a checkpoint.")
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial), create_model_card=False)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)


@contextmanager
def explain_trial(what: str) -> Iterator[None]:
    """Raise what failed before the first step as an error that says that nothing was trained."""
    try:
        yield
    except PatcherError:
        raise
    except Exception as error:
        hint = "Change the settings or the machine: nothing was trained. HF_DEBUG=1 prints the traceback."
        raise PatcherError(f"{what}: {in_one_line(error)}", hint + see("nothing-was-trained")) from error


@contextmanager
def explain_stop(config: Config) -> Iterator[None]:
    """Raise what stopped the training as an error that names the checkpoint to go on from."""
    try:
        yield
    except PatcherError:
        raise
    except Exception as error:
        whole = whole_checkpoints(config.output_dir)
        kept = f"The same command resumes from {whole[-1]}." if whole else "No checkpoint had been saved."
        reason, out = in_one_line(error), config.output_dir
        if out.is_dir() and shutil.disk_usage(out).free < FULL:  # torch's own error speaks of a position in a file
            reason, kept = f"the disk of {out} is full ({reason})", f"Free space on it. {kept}"
        raise PatcherError(f"The training stopped: {reason}", kept) from error


@contextmanager
def explain_incomplete(config: Config) -> Iterator[None]:
    """Raise what failed after the training as an error that says where the weights are and how to complete them."""
    try:
        yield
    except Exception as error:
        why = f"The trained weights are saved in {config.final}, but a later step failed: {in_one_line(error)}"
        raise PatcherError(why, "The same command completes it, without training again.") from error


def in_one_line(error: Exception) -> str:
    if isinstance(error, PatcherError):
        return error.message
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text or 'no reason given'}"


def summary(trainer: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What evaluation.json holds, but for the rows of each set."""
    arguments, state, evaluator = trainer.args, trainer.state, trainer.evaluator
    during = [entry for entry in state.log_history if any(name.endswith(FIGURES[0]) for name in entry)]
    best = state.best_model_checkpoint if arguments.load_best_model_at_end else None
    return {
        "before": figures(before, evaluator),
        "during": [{"step": entry["step"], **figures(entry, evaluator)} for entry in during],
        "after": figures(after, evaluator),
        "steps": state.global_step,
        "best_step": int(best.rsplit("-", 1)[-1]) if best else state.global_step,
        "metric": arguments.metric_for_best_model,
        "precision": "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32",
        "evaluated": [one.name for one in evaluator.evaluators],
        "collapse": trainer.find_collapse(),
    }


def push(trainer: Any, config: Config, collapse: str | None) -> None:
    """Push the complete model where that was asked for, unless it has collapsed, which raises Collapsed."""
    from training_trainer import Collapsed

    arguments, final = trainer.args, config.final
    if collapse:
        hint = "Lower loss.document_regularizer_weight or training.learning_rate."
        raise Collapsed(f"The model in {final} has collapsed: {collapse}. It was not pushed.", hint)
    if not arguments.push_to_hub:
        return
    repo_id, private = arguments.hub_model_id, arguments.hub_private_repo
    try:
        with explained(repo_id):
            trainer.model.push_to_hub(repo_id, private=private, local_model_path=str(final), exist_ok=True)
    except PatcherError as error:
        command = shlex.join(["patcher", "publish", str(final), repo_id, *(["--private"] if private else [])])
        why = f"{error.message} The model in {final} is complete, but was not pushed."
        raise PublishError(why, f"{error.hint} Then `{command}` pushes it.") from error


def evaluate(trainer: Any) -> Mapping[str, Any]:
    """All metrics of the model as it is, in the first process; the others encode their part of the texts."""
    from sentence_transformers.util.distributed import distributed_evaluation

    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    with distributed_evaluation(trainer.model, enabled=not sharded) as runs:
        return dict(trainer.evaluator(trainer.model)) if runs else {}


def is_first() -> bool:
    """Whether this is the first of the processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a file such as training_config.yaml, or a name from `configs`")
    parser.add_argument("--allow-capped", action="store_true", help="train a base that still has its cap, to compare")
    options, overrides = parser.parse_known_args(argv)
    bundled = templates() / "configs" / f"{options.config}.yaml"
    try:
        with redirect_stdout(sys.stderr):  # the trainer prints its log there; stdout is for the result
            config = read_config(bundled if bundled.is_file() else options.config, overrides)
            for note in config.notes if is_first() else ():
                print(f"Note: {note}.", file=sys.stderr)
            found = train(config, allow_capped=options.allow_capped)
    except PatcherError as error:
        if os.environ.get("HF_DEBUG"):
            traceback.print_exc()
        print(f"Error: {error.message}\nHint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.\nHint: The same command resumes from the last checkpoint.", file=sys.stderr)
        return 130
    for name in FIGURES if is_first() else ():
        print(f"{name:<24}{found['before'][name]:>10.4f} -> {found['after'][name]:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
