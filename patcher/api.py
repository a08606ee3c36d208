"""The way of the data, from a source to a verified folder with a card; what the commands and scripts call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher import card
from patcher.patch import PatchedModel, load, staged
from patcher.plan import CARD, Options, Plan
from patcher.snapshot import Snapshot
from patcher.verify import MIN_LOGIT_SPARSITY, Report, verify
from patcher.verify.guard import TIMEOUT


@dataclass(frozen=True)
class Verification:
    """How a folder is to be verified. `timeout` in seconds."""

    texts: Sequence[str]
    device: str = "auto"
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY
    timeout: float = TIMEOUT
    sparse_encoder: bool = False

    def run(self, model: PatchedModel) -> Report:
        """Executes the model's code, in a guarded child process."""
        return verify(model, self.texts, self.device, self.min_logit_sparsity, self.timeout, self.sparse_encoder)


@dataclass(frozen=True)
class Patched:
    """What `patch_model` made: the folder, the plan behind it and the report, if it was verified."""

    folder: Path
    plan: Plan
    report: Report | None

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "folder": str(self.folder),
            "plan": self.plan.as_json(),
            "report": self.report.as_json() if self.report else None,
        }


def patch_model(
    plan: Plan,
    snapshot: Snapshot,
    out: Path,
    verification: Verification | None,
    code_only: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Patched:
    """Write the patched folder, verify it where it stands, write its card, then move it to `out` in one step."""
    with staged(plan, snapshot, out, code_only) as model:
        report = None
        if verification is not None:
            say(f"Running the base and the patched model on {len(verification.texts)} texts ...")
            report = verification.run(model)
            report.write(model.folder)
        card.write(model, report, out.name)
    return Patched(out, plan, report)


def verify_folder(folder: Path, verification: Verification) -> Report:
    """Verify a patched folder again: its report is replaced, and its card unless somebody edited that by hand."""
    model = load(folder)
    report = verification.run(model)
    report.write(folder)
    if card.is_ours(folder / CARD):
        card.write(model, report, folder.resolve().name)
    return report


__all__ = ["Options", "Patched", "Verification", "patch_model", "verify_folder"]
