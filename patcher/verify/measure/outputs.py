"""What a forward pass of any Auto class takes and gives. Imports torch alone: it runs on every transformers."""

from __future__ import annotations

from typing import Any

import torch

_VOCABULARY_HEADS = ("ForMaskedLM", "ForCausalLM")
# The dimensions of one text's output if it has one entry per token; most classes give [tokens, values].
_TOKEN_DIMS = {"QuestionAnswering": 1, "SequenceClassification": -1, "MultipleChoice": -1}


def has_vocabulary_head(auto_class: str) -> bool:
    """Whether the model gives a logit for each token of the vocabulary."""
    return auto_class.endswith(_VOCABULARY_HEADS)


def shaped(inputs: dict[str, torch.Tensor], auto_class: str) -> dict[str, torch.Tensor]:
    """Inputs [batch, tokens] as a class takes them: one that compares choices gets one choice for each text."""
    return {name: one[:, None] for name, one in inputs.items()} if auto_class.endswith("MultipleChoice") else inputs


def tensors(output: Any, batch: int) -> list[torch.Tensor]:
    """The floating-point tensors of an output that have one entry for each text; no loss, no hidden states."""
    values = output.to_tuple() if hasattr(output, "to_tuple") else output
    values = values if isinstance(values, (tuple, list)) else (values,)
    found = [one for one in values if isinstance(one, torch.Tensor) and one.is_floating_point()]
    return [one for one in found if one.dim() and len(one) == batch]


def rows(found: list[torch.Tensor], auto_class: str, lengths: list[int]) -> list[torch.Tensor]:
    """What `tensors` found, for each text: [rows, values], with one row per token without padding, or one row.

    A vocabulary head gives its logits alone. Start and end logits, or a pooled output, are put side by side.
    """
    found = found[:1] if has_vocabulary_head(auto_class) else found
    dims = next((dims for ending, dims in _TOKEN_DIMS.items() if auto_class.endswith(ending)), 2)
    return [_side_by_side([one[index] for one in found], dims, length) for index, length in enumerate(lengths)]


def _side_by_side(found: list[torch.Tensor], dims: int, length: int) -> torch.Tensor:
    parts = [one[:length].reshape(length, -1) if one.dim() == dims else one.reshape(1, -1) for one in found]
    most = max(len(one) for one in parts)
    return parts[0] if len(parts) == 1 else torch.cat([one.expand(most, -1) for one in parts], dim=1)
