"""The settings of a verification, and the type of its progress callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patcher.constants import MIN_LOGIT_SPARSITY, VERIFY_TIMEOUT
from patcher.verify.report import Report
from patcher.verify.texts import ProbeText

MAX_TOKENS = 512
BATCH_SIZE = 32
MAX_BATCH_TOKENS = 1024  # with padding; most memory is taken by the logits of a batch
MAX_KEPT_CAP_BATCH_TOKENS = 2048  # one model has half the logits

Progress = Callable[[str, int, int], None]  # device, texts done, texts in all


@dataclass(frozen=True)
class Verification:
    """How to verify a folder. `timeout` is in seconds, for each device.

    The figures of the first of `devices` lead the report; `attention` is a value for transformers'
    `attn_implementation`.
    """

    texts: tuple[ProbeText, ...]
    devices: tuple[str, ...] = ("auto",)
    dtype: str = "float32"
    attention: str | None = None
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY
    timeout: float = VERIFY_TIMEOUT
    sparse_encoder: bool = False
    batch_size: int = BATCH_SIZE

    def covers(self, report: Report) -> bool:
        """Whether a report passed and answers what this verification asks, on whatever device."""
        limits = [check.limit for check in report.all_checks if check.name == "relu_sparsity"]
        theirs = {"sparse_encoder_agrees", "sparse_encoder_loads"} & {check.name for check in report.all_checks}
        return (
            report.passed
            and all(limit >= self.min_logit_sparsity for limit in limits)
            and report.texts == len(self.texts)
            and (not self.sparse_encoder or bool(theirs))
        )
