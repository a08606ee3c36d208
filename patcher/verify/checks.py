"""Judges what was measured. Pure arithmetic: no model, no torch; a value that is not finite fails every check."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from patcher.constants import MIN_LOGIT_SPARSITY as MIN_LOGIT_SPARSITY
from patcher.constants import RECORD
from patcher.patching.record import SENTENCE, PatchedModel
from patcher.planning.auto_class import MASKED, VOCABULARY_HEADS
from patcher.planning.files import is_loaded
from patcher.planning.layout import MODULES
from patcher.verify.messages import LogitsMeasured, Measured, OriginalRun, PairMeasured, SingleMeasured
from patcher.verify.report import Check, ModeReport
from patcher.verify.tolerances import cap_spacings, reference_tolerance


@dataclass(frozen=True)
class Judge:
    """Turns values into checks. If the model did not run, or its values prove nothing, every check fails.

    `failure` is the error of the model's code; `invalid` says why no value proves anything, followed by the detail of
    the check if `explain` is set.
    """

    failure: str | None
    invalid: str | None = None
    explain: bool = False

    def check(self, name: str, value: float | None, limit: float, detail: str, *, passed: bool) -> Check:
        """The check of a value. It passes only if the value is finite and the run proves something."""
        finite = value if value is not None and math.isfinite(value) else None
        if self.failure is not None:
            return Check(name, passed=False, value=None, limit=limit, detail=f"the model did not run: {self.failure}")
        if self.invalid is not None:
            why = f"{self.invalid}; {detail}" if self.explain else self.invalid
            return Check(name, passed=False, value=finite, limit=limit, detail=why)
        return Check(name, passed and finite is not None, finite, limit, detail)

    def none_of(self, name: str, wrong: Sequence[str] | int, detail: str, extra: str = "") -> Check:
        """The check that nothing is wrong: `wrong` counts it, or names it in the detail, before what is `extra`."""
        if isinstance(wrong, int):
            return self.check(name, wrong, 0, detail, passed=wrong == 0)
        named = f"{detail}: {shortened(wrong)}" if wrong else detail
        return self.check(name, len(wrong), 0, f"{named}{extra}", passed=not wrong)

    def loaded(self, measured: Measured, files_changed: Sequence[str], auto_class: str = MASKED) -> tuple[Check, Check]:
        """Whether a model was loaded right: `weights_unchanged` and `buffers_rebuilt`."""
        changed = (*files_changed, *measured.tensors_changed)
        unused = f" or that {auto_class} does not use" if measured.tensors_of_another_class else ""
        tensors = f"weight tensors that differ from the source{unused}, of {measured.tensors}"
        alike = {
            "only in the checkpoint": measured.tensors_unused,
            "missing from the checkpoint": measured.tensors_initial,
        }
        extra = "".join(f"; {what}: {shortened(names)}" for what, names in alike.items() if names)
        extra += "; does architectures in config.json name the right class?" if unused else ""
        buffers = f"buffers that differ from freshly computed ones, of {measured.buffers}"
        return (
            self.none_of("weights_unchanged", changed, tensors, extra),
            self.none_of("buffers_rebuilt", measured.buffers_wrong, buffers),
        )

    def bos_row_dropped(self, measured: LogitsMeasured, *, drops_bos: bool) -> tuple[Check, ...]:
        """Whether the first row, the bos token's alone in the base model, is zero now; no check if it was not dropped.

        A model without a base has to be equal, bit by bit, at every other position.
        """
        wrong = measured.bos_rows_wrong
        detail = "texts whose first row was not only the bos token's, or is not zero now"
        if isinstance(measured, SingleMeasured):
            detail += ", or whose other rows are not bit-for-bit equal"
        return (self.check("bos_row_dropped", wrong, 0, detail, passed=wrong == 0),) if drops_bos else ()

    def modes_agree(self, modes: Sequence[ModeReport]) -> Check:
        """Whether the model is right in every mode of use that was run. It fails if none was."""
        run = [mode for mode in modes if mode.passed is not None]
        wrong = [f"{mode.name} ({mode.detail})" for mode in run if not mode.passed]
        named = f": {'; '.join(wrong[:3])}{'; ...' if len(wrong) > 3 else ''}" if wrong else ""
        not_run = "; ".join(f"{mode.name} ({mode.detail})" for mode in modes if mode.passed is None)
        detail = f"modes of use that are wrong, of {len(run)}{named}{f'; not run: {not_run}' if not_run else ''}"
        return self.check("modes_agree", len(wrong) if run else None, 0, detail, passed=not wrong)


def judge(
    measured: PairMeasured,
    files_changed: tuple[str, ...] = (),
    modes: Sequence[ModeReport] = (),
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY,
    cap_tolerance: float = 0.0,
    *,
    shifted: bool = False,
    kept: bool = False,
    drops_bos: bool = False,
) -> tuple[Check, ...]:
    """The checks, in the order in which a failure of one explains a failure of the next.

    `files_changed` are weight files whose SHA-256 is not that of the source; `cap_tolerance` is that of
    `tolerances.cap_tolerance`; `modes` are those of `tolerances.judge_mode`; `shifted` logits have to keep their order;
    where the cap is `kept`, a constant subtracted behind it is all that may differ from the base;
    with `drops_bos` the synthetic first row has to be zero.
    """
    invalid = f"{measured.not_finite} logits are not finite" if measured.not_finite else None
    by = _judge_of(measured, invalid)
    cap_error = math.nan if measured.cap_error is None else measured.cap_error
    negative = measured.patched.negative_fraction if measured.patched else math.nan
    sparsity = measured.patched.logit_sparsity if measured.patched else math.nan
    allowed = cap_spacings(shifted=shifted, kept=kept)
    checks = [
        *by.loaded(measured, files_changed),
        by.check(
            "cap_lowered_exactly" if kept else "cap_removed_exactly",
            cap_error,
            cap_tolerance,
            f"largest |base - {'(patched + constant)' if kept else 'cap(patched)'}|; at most {allowed} "
            f"spacing{'s' * (allowed > 1)} of {measured.head_dtype} at the cap's scale",
            passed=cap_error <= cap_tolerance,
        ),
        by.none_of(
            "predictions_unchanged",
            measured.predictions_changed,
            f"positions that predict a different token, of {measured.positions}",
        ),
        by.check("negative_logits", negative, 0, "share of negative logits; must be above 0", passed=negative > 0),
        by.check(
            "relu_sparsity",
            sparsity,
            min_logit_sparsity,
            "logit sparsity: share of ReLU(logits) that is zero; has to exceed the limit",
            passed=sparsity > min_logit_sparsity,
        ),
        by.modes_agree(modes),
        *by.bos_row_dropped(measured, drops_bos=drops_bos),
    ]
    if shifted:
        detail = f"positions whose best tokens rank differently, of {measured.positions}"
        checks.append(by.none_of("rankings_kept", measured.rankings_changed, detail))
    if found := measured.sparse_encoder:
        detail = f"texts where SparseEncoder disagrees on active dims; it pools with {found.pooling}"
        agrees = found.pooling == "SpladePooling" and found.disagreements == 0
        checks.append(by.check("sparse_encoder_agrees", found.disagreements, 0, detail, passed=agrees))
    return tuple(checks)


def judge_single(
    measured: SingleMeasured,
    files_changed: Sequence[str] = (),
    modes: Sequence[ModeReport] = (),
    auto_class: str = MASKED,
    *,
    drops_bos: bool = False,
) -> tuple[Check, ...]:
    """The checks of a model of any Auto class that has no base, because its cap stays or it has none.

    The published code, which could serve as one, does not load on transformers 5 (see `judge_reference`).
    """
    by = _judge_of(measured)
    name = "logits_finite" if auto_class in VOCABULARY_HEADS else "outputs_finite"
    positions = f"outputs that are not finite, at {measured.positions} positions"
    checks = [
        *by.loaded(measured, files_changed, auto_class),
        by.none_of(name, measured.not_finite, positions),
        by.modes_agree(modes),
        *by.bos_row_dropped(measured, drops_bos=drops_bos),
    ]
    if theirs := measured.sparse_encoder:
        name = "sentence_transformer_loads" if theirs.loaded_by == SENTENCE else "sparse_encoder_loads"
        detail, wrong = f"embedding values of {theirs.loaded_by} that are not finite", theirs.not_finite
        if auto_class in VOCABULARY_HEADS:
            detail += f"; it {'pools' if theirs.splade else 'does NOT pool'} with SpladePooling"
            wrong += not theirs.splade
        if theirs.other_modules:
            detail += f"; it loads {', '.join(theirs.other_modules)}, NOT the modules of {MODULES}"
            wrong += 1
        checks.append(by.none_of(name, wrong, detail))
    return tuple(checks)


def judge_reference(measured: LogitsMeasured, original: OriginalRun) -> Check:
    """The check `reference_agrees`: the `original` is the published code on a transformers that it was written for."""
    largest, scale, texts = math.nan, 0.0, 0
    if found := measured.original:
        largest, scale, texts = found.largest, found.scale, found.texts
    limit = reference_tolerance(scale)
    what = f"from the published code on transformers {original.transformers}"
    detail = f"largest difference {what}, over {texts} texts; at most 1e-5 of the largest output"
    agrees = largest <= limit and 0 < texts == original.texts
    return _judge_of(measured).check("reference_agrees", largest, limit, detail, passed=agrees)


def changed_files(model: PatchedModel, files: Mapping[str, str]) -> tuple[str, ...]:
    """The weight files that do not hold what the source holds; `files` are the SHA-256 of the folder's files now."""
    return tuple(file.path for file in model.weights if files.get(file.path) != file.carried)


def weights_converted(model: PatchedModel, files: Mapping[str, str]) -> tuple[Check, ...]:
    """One check if weights were pickled in the source: the files are those that were read back after the conversion.

    `files` are the SHA-256 of the folder's files now.
    """
    if not model.converted:
        return ()
    records = {file.path: file for file in model.files}
    wrong = [made.path for made in model.converted if files.get(made.path) != records[made.path].after]
    tied = [" = ".join(names) for made in model.converted for names in made.tied]
    conversions = [
        f"{made.origin} (SHA-256 {records[made.path].before[:12]}) to {made.path} ({records[made.path].after[:12]})"
        for made in model.converted
    ]
    detail = (
        f"converted files that differ from what was read back, of {len(conversions)} "
        f"({sum(made.tensors for made in model.converted)} tensors): "
        f"{', '.join(conversions[:2])}{', ...' if len(conversions) > 2 else ''}"
        + (f"; tied in the pickle, equal here: {', '.join(tied[:3])}" if tied else "")
    )
    return (Check("weights_converted", not wrong, len(wrong), 0, detail),)


def files_unchanged(model: PatchedModel, files: Mapping[str, str], folders: Collection[str]) -> Check:
    """Whether the folder holds what `patch` wrote; `files` are the SHA-256 of its files now.

    `folders` are those from which the model is loaded.
    A file that the record does not list is named in the detail. It fails the check where it can change what is loaded.
    """
    recorded = {file.path: file.after for file in model.files}
    unknown = sorted(set(files) - {*recorded, RECORD})
    added = [path for path in unknown if is_loaded(path, folders)]
    lost = [path for path in recorded if path not in files]
    changed = [path for path, digest in recorded.items() if files.get(path, digest) != digest]
    named = {"changed": changed, "missing": lost, "added": added, "not in the record": [*{*unknown} - {*added}]}
    found = [f"{what}: {shortened(sorted(paths))}" for what, paths in named.items() if paths]
    wrong = len(changed) + len(lost) + len(added)
    detail = "; ".join([f"files that differ from {RECORD}, of {len(recorded)}", *found])
    return Check("files_unchanged", wrong == 0, wrong, 0, detail)


def shortened(names: Sequence[str]) -> str:
    """The first three names."""
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _judge_of(measured: LogitsMeasured, invalid: str | None = None) -> Judge:
    return Judge(measured.failure, invalid or (None if measured.positions else "no position was measured"))
