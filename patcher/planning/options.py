"""What a plan was asked for and what its codemods did: values that a record holds, without the code that makes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from patcher.constants import REPAIRS
from patcher.errors import UsageError

# In the order in which they run.
NAMES = (
    *("soft_cap", "removed_methods", "tied_weights", "config_defaults"),
    *("computed_buffers", "checkpointing", "max_length", "drop_bos"),
)
# The names in commands and records of earlier versions.
_RENAMED = {"rotary_tables": "computed_buffers", "is_decoder": "config_defaults"}


@dataclass(frozen=True)
class Edit:
    """One change: its `line` (from 1) in the file as published, and the lines before and after."""

    line: int
    before: str
    after: str


@dataclass(frozen=True)
class CodemodResult:
    """What one codemod did to one file.

    `status` is `applied`, with the edits; or `not_needed` or `left_alone` (found and not changed), with a reason.
    """

    name: str
    status: str
    file: str
    edits: tuple[Edit, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Options:
    """What to do beyond removing the cap of the masked-LM head and repairing the loading, or instead of these.

    `shift` is a constant to subtract from the raw logits, found by a calibration. With a `threshold` the cap stays, and
    activations of up to this value become 0, as the code subtracts expm1(threshold) after the cap. `drop_bos` makes
    the synthetic first row of the logits zero. `codemods` are the only ones to run.
    `trained_without_cap`: the user knows that a trained model's weights never passed its cap. Raises UsageError for an
    unknown codemod and for an invalid threshold.
    """

    also_causal_lm: bool = False
    checkpointing: bool = False
    codemods: tuple[str, ...] = ()
    shift: float = 0.0
    trained_without_cap: bool = False
    drop_bos: bool = False
    threshold: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "codemods", tuple(_RENAMED.get(name, name) for name in self.codemods))
        unknown = [name for name in self.codemods if name not in NAMES]
        if unknown:
            why = f"There is no codemod {unknown[0]!r}."
            raise UsageError(why, f"Use one of {', '.join(NAMES)}, or repairs for {', '.join(REPAIRS)}.")
        if self.threshold is None:
            return
        if not 0 < self.threshold < math.inf:
            raise UsageError(f"{self.threshold:g} is not a threshold for activations.", "Use a number above 0.")
        if self.trained_without_cap or self.shift or "soft_cap" not in self.names:
            raise UsageError(
                "--threshold lowers the capped logits, so the cap must stay and soft_cap must run.",
                "Leave out --threshold, or --trained-without-cap and --codemod.",
            )

    @classmethod
    def choose(
        cls,
        codemods: Iterable[str],
        *,
        also_causal_lm: bool = False,
        checkpointing: bool = False,
        trained_without_cap: bool = False,
        drop_bos: bool = False,
        threshold: float | None = None,
    ) -> Options:
        """Options from names as a user gives them; `repairs` stands for all that loading needs. Raises UsageError."""
        names = [part for name in codemods for part in (REPAIRS if name == "repairs" else (name,))]
        chosen = tuple(dict.fromkeys(names))
        return cls(also_causal_lm, checkpointing, chosen, 0.0, trained_without_cap, drop_bos, threshold)

    @property
    def names(self) -> tuple[str, ...]:
        """The codemods to run, in their order: those that were chosen, or else the cap and the repairs."""
        chosen = [name for name in ("checkpointing", "drop_bos") if getattr(self, name)]
        wanted = {*(self.codemods or ("soft_cap", *REPAIRS)), *chosen}
        return tuple(name for name in NAMES if name in wanted)
