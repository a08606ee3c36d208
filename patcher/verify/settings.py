"""How a folder is to be verified: the settings of a run, and what hears of its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patcher.sandbox.guard import TIMEOUT
from patcher.verify.checks import MIN_LOGIT_SPARSITY
from patcher.verify.report import Report
from patcher.verify.texts import ProbeText

MAX_TOKENS = 512


BATCH_SIZE = 32


MAX_BATCH_TOKENS = 1024  # with padding; the logits of a batch are what takes memory


Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Verification:
    """How a folder is to be verified. `timeout` is in seconds, for each device.

    The first of `devices` is the one whose figures lead the report; `attention` is a value for transformers'
    `attn_implementation`.
    """

    texts: tuple[ProbeText, ...]
    devices: tuple[str, ...] = ("auto",)
    dtype: str = "float32"
    attention: str | None = None
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY
    timeout: float = TIMEOUT
    sparse_encoder: bool = False
    batch_size: int = BATCH_SIZE

    def covers(self, report: Report) -> bool:
        """Whether a report passed and says what this verification would find out, on whatever device."""
        limits = [check.limit for check in report.checks if check.name == "relu_sparsity"]
        theirs = {"sparse_encoder_agrees", "sparse_encoder_loads"} & {check.name for check in report.checks}
        return (
            report.passed
            and all(limit >= self.min_logit_sparsity for limit in limits)
            and report.texts == len(self.texts)
            and (not self.sparse_encoder or bool(theirs))
        )
