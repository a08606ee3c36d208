"""The library's trainer, which stops at the first figure that is not finite and saves nothing that is not finite."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SparseEncoder, SparseEncoderTrainer
from training_config import whole_checkpoints

from patcher.errors import OutputError, PatcherError, see

SKIPPED_STEPS = 20  # fp16 scales its loss down by halves until gradients are finite, and skips a step each time
ADAM_STATE = 2  # moments of each weight, as large as the weight
TRIED = 2  # rows of each set: a passage needs a wrong one beside it


class NotFinite(PatcherError):
    """A loss, a gradient or a weight is NaN or infinite: nothing that comes after it can be used."""


class Collapsed(PatcherError):
    """The trained model gives embeddings that can't be searched: a failed check of it."""

    exit_code = 1


class SpladeTrainer(SparseEncoderTrainer):
    """SparseEncoderTrainer that watches loss, gradients, metrics and embeddings. `probe`: queries and documents."""

    def __init__(
        self, *args: Any, probe: tuple[list[str], list[str]], allow_dense: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(SparseEncoderTrainer, "_get_grad_norm"):
            raise ImportError("this version of transformers shows no norm of the gradients to check")
        card = self.model.model_card_data  # a card quotes no row of the training data
        card.widget, card.usage_examples = [], None
        for one in card.train_datasets:
            for key in ("examples", "examples_table"):
                one.pop(key, None)
        self.probe, self.allow_dense = probe, allow_dense
        self._losses: list[torch.Tensor] = []
        self._skipped = 0

    def try_first_rows(self) -> None:
        """Compute the loss of the first rows of each set, and make the optimizer, without any trace of it."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # both need the whole machinery of a step
            return
        sets = self.train_dataset if isinstance(self.train_dataset, dict) else {"": self.train_dataset}
        self.model.eval()
        for name, rows in sets.items():
            loss = self.loss[name] if isinstance(self.loss, dict) else self.loss
            batch = self._prepare_inputs(self.data_collator([rows[n] for n in range(min(len(rows), TRIED))]))
            with torch.no_grad(), self.compute_loss_context_manager():
                loss(*self.collect_features(batch))
        self.create_optimizer_and_scheduler(num_training_steps=1)
        self.optimizer = self.lr_scheduler = None

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self._losses.append(loss.detach())
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """The norm, checked with the losses behind it before the step is taken: one wait for the GPU for each step."""
        norm = super()._get_grad_norm(model, grad_norm)
        losses, self._losses = self._losses, []
        figures = [torch.as_tensor(one, dtype=torch.float32, device=losses[0].device) for one in (*losses, norm)]
        values = torch.stack(figures).tolist()
        self._skipped = self._skipped + 1 if not math.isfinite(values[-1]) else 0
        for value in values[:-1]:
            self._check(value, "The loss")
        if self._skipped > (SKIPPED_STEPS if self.args.fp16 else 0):
            self._check(values[-1], "The norm of the gradients")
        return norm

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        for name, value in metrics.items():
            self._check(value, name)
        collapse = self.find_collapse()
        if collapse and self.is_world_process_zero():
            print(f"Warning: collapse at step {self.state.global_step}: {collapse}.", file=sys.stderr)
        return metrics

    def find_collapse(self) -> str | None:
        return collapse_of(self.model, *self.probe, allow_dense=self.allow_dense)

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise NotFinite(f"{what} is {value} at step {self.state.global_step + 1}.", self._remedy())

    def _remedy(self) -> str:
        whole = whole_checkpoints(Path(self.args.output_dir))
        kept = f"{whole[-1]} is the last good checkpoint. " if whole else "No checkpoint had been saved. "
        return kept + "Lower training.learning_rate or the weights of the loss, or train in bf16 or fp32."

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Every checkpoint comes through here, and what is pushed is a copy of one."""
        check_weights(self.model, self._remedy())
        super()._save(output_dir, state_dict)

    def _load_best_model(self) -> None:
        """The library's own logs an error and goes on with the last step's weights."""
        best = self.state.best_model_checkpoint
        self._load_from_checkpoint(best)
        self.model.model_card_data.set_best_model_step(int(best.rsplit("-", 1)[-1]))


def check_weights(model: torch.nn.Module, remedy: str) -> None:
    """Raises NotFinite where a weight is NaN or infinite."""
    for name, weights in model.named_parameters():
        if not torch.isfinite(weights).all():
            raise NotFinite(f"The weights {name} are not finite, so nothing was saved.", remedy)


def collapse_of(model: SparseEncoder, queries: list[str], documents: list[str], *, allow_dense: bool) -> str | None:
    """In words what is wrong with the embeddings of these texts, if anything is."""
    for kind, texts, encode in (("query", queries, model.encode_query), ("document", documents, model.encode_document)):
        active = encode(texts, convert_to_sparse_tensor=False, show_progress_bar=False) > 0
        counts = active.sum(dim=1)
        if not counts.any():
            return f"no dimension of any {kind} is active"
        if active.all():
            return None if allow_dense else f"all {active.shape[1]} dimensions of every {kind} are active"
        if len(set(texts)) > 1 and (active == active[0]).all():
            return f"every {kind} has the same {int(counts[0])} active dims"
    return None


def check_space(model: torch.nn.Module, arguments: Any) -> None:
    """Raises OutputError where the checkpoints that are kept, and the one being written, do not fit the disk."""
    size = sum(weights.numel() * weights.element_size() for weights in model.parameters())
    each = size * (1 if arguments.save_only_model else 1 + ADAM_STATE)
    kept = 0 if arguments.save_strategy == "no" else (arguments.save_total_limit or 1) + 1
    needed = kept * each + size
    out = Path(arguments.output_dir).absolute()
    free = shutil.disk_usage(next(folder for folder in (out, *out.parents) if folder.exists())).free
    if free < needed:
        why = f"{out} needs {needed / 1e9:.1f} GB for {kept} checkpoints and the model; {free / 1e9:.1f} GB are free."
        hint = "Free disk space, choose another training.output_dir, or lower training.save_total_limit."
        raise OutputError(why, hint + see("no-space"))


def gather_arguments(values: Mapping[str, Any]) -> Any:
    """The library's own arguments; it knows what this machine can do. Raises its ValueError."""
    from sentence_transformers import SparseEncoderTrainingArguments

    given, mode = dict(values), values.get("precision")
    given.pop("precision", None)
    gpu = torch.cuda.is_available()
    computes_bf16 = gpu and torch.cuda.is_bf16_supported(including_emulation=False)  # emulated, it is slower than fp32
    if mode == "auto":
        mode = "bf16" if computes_bf16 else "fp32"
    if mode:
        given |= {"bf16": mode == "bf16", "fp16": mode == "fp16"}
    if (given.get("fp16") or given.get("bf16")) and not gpu:
        raise ValueError("bf16 and fp16 need a GPU")
    if given.get("bf16") and not computes_bf16:
        raise ValueError(f"{torch.cuda.get_device_name()} does not compute in bf16")
    return SparseEncoderTrainingArguments(
        **{"dataloader_pin_memory": gpu, "disable_tqdm": not sys.stderr.isatty(), **given}
    )
