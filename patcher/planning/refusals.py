"""The refusals of the codemods: the name of each, which never changes, and the hint that the user reads with it."""

from __future__ import annotations

from collections.abc import Mapping

from patcher.codemods import Refused
from patcher.errors import CodeError, see

_REPORT = "Nothing was changed. If this model should be patched, please report it with these lines."
_NUMBER = "Write the number into the code or into config.json, in a copy of the repository, then patch that."
_CLASS = "Derive the model from PreTrainedModel, in a copy of the repository, then patch that."
_RAW = (
    "If its logits are raw already, add `--codemod repairs`: without it the code may load incorrectly on "
    "transformers 5. If they are capped, please report it."
)
# Each name has its test, and a heading in docs/recognised.md that says when it happens.
REFUSALS: Mapping[str, str] = {
    "no-cap": _RAW,
    "no-forward": _REPORT,
    "several-caps": "Remove all but one by hand, in a copy of the repository, then patch that.",
    "not-understood": _REPORT,
    "too-complex": "No code written by people looks like that; do not run it.",
    "no-scale": _REPORT,
    "scale-unknown": _NUMBER,
    "temperature-unknown": _NUMBER,
    "offset": _REPORT,
    "decreasing": _REPORT,
    "in-a-container": "Remove the layer in a copy of the repository, and rename the checkpoint's tensors to match.",
    "used-elsewhere": "Let the other line read the uncapped value, in a copy of the repository, then patch that.",
    "config-attribute": "Set it after `super().__init__()` in the configuration class, in a copy of the repository.",
    "tied-head": "Write `_tied_weights_keys = {head: embedding}` with their names there, in a copy of the repository.",
    "removed-method": "Copy that method of transformers 4.57 into the class, in a copy of the repository.",
    "no-bos-row": "There is nothing to drop: leave out --drop-bos.",
    "bos-row": "Leave out --drop-bos, or write zeros there in a copy of the repository, then patch that.",
    "shared": "If the other class is the causal head, --also-causal-lm removes both caps; otherwise please report it.",
    "rotary-no-home": _CLASS,
    "table-from-parameter": "Compute it from the configuration alone, in a copy of the repository, then patch that.",
}


def refusal(path: str, refused: Refused) -> CodeError:
    """The error that tells the user of a refusal, with its name in brackets and the address of its entry."""
    hint = REFUSALS.get(refused.name, _REPORT) + see(refused.name, "recognised")
    return CodeError(f"{path}: {refused.reason} [{refused.name}].", hint)
