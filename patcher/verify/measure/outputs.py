"""What a forward pass of any Auto class takes and gives. Imports torch alone: it runs on every transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_VOCABULARY_HEADS = ("ForMaskedLM", "ForCausalLM")
_PER_TEXT = ("ForSequenceClassification", "ForMultipleChoice")


def has_vocabulary_head(auto_class: str) -> bool:
    """Whether the model gives a logit for each token of the vocabulary."""
    return auto_class.endswith(_VOCABULARY_HEADS)


def shaped(inputs: dict[str, torch.Tensor], auto_class: str) -> dict[str, torch.Tensor]:
    """Inputs [batch, tokens] as a class takes them.

    One that compares choices gets [batch, 2, tokens]: each text, and the same with its first token for its second.
    """
    if not auto_class.endswith("MultipleChoice"):
        return inputs
    return {name: torch.stack([one, _repeat_first(one)], dim=1) for name, one in inputs.items()}


def targets(ids: torch.Tensor, mask: torch.Tensor, auto_class: str, config: Any) -> dict[str, torch.Tensor]:
    """Targets of a training step on token ids [batch, tokens], as the losses of a class take them; padding has none.

    A vocabulary head and a class without a loss get the ids themselves.
    """
    count = int(getattr(config, "num_labels", 2))
    if auto_class.endswith("QuestionAnswering"):
        first = torch.zeros_like(ids[:, 0])
        return {"start_positions": first, "end_positions": first + 1}
    if auto_class.endswith(_PER_TEXT):
        labels = torch.zeros_like(ids[:, 0])
        if getattr(config, "problem_type", None) == "multi_label_classification":
            return {"labels": torch.zeros(len(ids), count, device=ids.device)}
        return {"labels": labels.float() if count == 1 and "Sequence" in auto_class else labels}
    labels = ids % count if auto_class.endswith("TokenClassification") else ids
    return {"labels": labels.masked_fill(mask == 0, -100)}


def gives_rows(auto_class: str) -> bool:
    """Whether the output has a row for each token, and not one for the text."""
    return not auto_class.endswith(_PER_TEXT)


def tensors(output: Any, batch: int) -> list[torch.Tensor]:
    """The floating-point tensors of an output that have one entry for each text; no loss, no hidden states."""
    values = output.to_tuple() if hasattr(output, "to_tuple") else output
    values = list(values.values()) if isinstance(values, Mapping) else values
    values = values if isinstance(values, (tuple, list)) else (values,)
    found = [one for one in values if isinstance(one, torch.Tensor) and one.is_floating_point()]
    return [one for one in found if one.dim() and len(one) == batch]


def rows(found: list[torch.Tensor], auto_class: str, lengths: list[int]) -> list[torch.Tensor]:
    """What `tensors` found, for each text: [rows, values], with one row per token without padding, or one row.

    A vocabulary head gives its logits alone. Start and end logits, or a pooled output, are put side by side.
    """
    found = found[:1] if has_vocabulary_head(auto_class) else found
    # The dimensions of one text's output if it has an entry for each token; most classes give [tokens, values].
    dims = (1 if auto_class.endswith("QuestionAnswering") else 2) if gives_rows(auto_class) else -1
    return [_side_by_side([one[index] for one in found], dims, length) for index, length in enumerate(lengths)]


def _repeat_first(tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([tokens[:, :1], tokens[:, :1], tokens[:, 2:]], dim=1)[:, : tokens.shape[1]]


def _side_by_side(found: list[torch.Tensor], dims: int, length: int) -> torch.Tensor:
    parts = [one[:length].reshape(length, -1) if one.dim() == dims else one.reshape(1, -1) for one in found]
    most = max(len(one) for one in parts)
    return parts[0] if len(parts) == 1 else torch.cat([one.expand(most, -1) for one in parts], dim=1)
