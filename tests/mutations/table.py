"""Which code of which check is broken, how, and the narrowest test that must turn red then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutation:
    """`old` stands exactly once in `file`, a path below patcher; with `new` in its place, `test` must fail.

    `test` is a pytest node id below tests; `broken` says in words what is wrong then.
    """

    check: str
    broken: str
    file: str
    old: str
    new: str
    test: str

    def broken_text(self, folder: Path) -> str:
        """The file's text with the mutation in it. Raises ValueError where `old` does not stand there just once."""
        text = (folder / "patcher" / self.file).read_text("utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.old!r} stands {text.count(self.old)} times in patcher/{self.file}")
        return text.replace(self.old, self.new)


JUDGED = "verify/test_checks.py::test_each_fault_fails_its_own_check[change{}-{}]"
CAPPED = "verify/test_checks.py::test_each_check_fails_by_itself[change{0}-fails{0}]"
HASHES = "verify/test_checks.py::test_a_weight_file_with_another_hash_fails_although_the_tensors_look_right"
APART = "verify/test_tolerances.py::test_a_device_that_differs_or_was_not_compared_does_not_agree"
COMPARED = "verify/measure/test_comparison.py::test_"
DIFFER = "verify/measure/test_agreement.py::test_"
OFF_CAP = COMPARED + "one_logit_off_the_cap_shows_above_and_below_it"
FIGURES = "verify/measure/test_figures.py::test_figures_leave_out_padding_and_the_synthetic_row"
VERIFIED = "verify/test_verification.py::test_"
KEPT = "verify/test_checks.py::test_shifted_logits_have_to_keep_their_rankings[1-fails1]"
THEIRS = "verify/test_checks.py::test_a_sparse_encoder_that_disagrees_or_pools_otherwise_fails[found{}]"
GARBAGE = "pipeline/test_trained.py::test_wrong_tables_and_logits_that_are_not_finite_are_caught"
READ_BACK = "patching/test_pickles.py::test_a_tensor_that_reads_back_otherwise_is_found"
MODE_JUDGED = "verify/test_tolerances.py::test_a_mode_is_right_if_rounding_explains_what_differs[change{0}-False]"
MODE = "verify/measure/test_modes.py::test_a_head_that_bounds_its_logits_in_one_mode_is_wrong_there[{}-before]"
# What makes a mode that mode, and without it another one.
MODES_RUN = {
    "right_padding": ("Mode(PLAIN)", 'Mode(PLAIN, batch="left")'),
    "left_padding": ('batch="left")', 'batch="right")'),
    "batch_of_one": ('"batch_of_one", batch="one"', '"batch_of_one", batch="right"'),
    "no_attention_mask": ("masked=False", "masked=True"),
    "more_than_512_tokens": ('batch="long")', 'batch="right")'),
    "tuple_output": ('"tuple_output", arguments=_TUPLE, equal', '"tuple_output", equal'),
    "hidden_states": ('"output_hidden_states": True', '"output_hidden_states": False'),
    "attentions": ('"output_attentions": True', '"output_attentions": False'),
    "gradient": ('"gradient", gradient=True', '"gradient", gradient=False'),
    "labels": ('"labels", gradient=True, labels=True', '"labels", gradient=True, labels=False'),
    "labels_and_tuple_output": ("arguments=_TUPLE, labels=True", "arguments=_TUPLE, labels=False"),
    "train": ("Mode(TRAIN, train=True", "Mode(TRAIN, train=False"),
    "train_without_dropout": ("dropout=False", "dropout=True"),
    "train_with_labels": ("train=True, gradient=True, labels=True", "train=True, gradient=True, labels=False"),
    "gradient_checkpointing": ("around=checkpointing", "around=lambda _: nullcontext()"),
    "bfloat16_autocast": ('"bfloat16_autocast", around=_BF16', '"bfloat16_autocast", around=_FP16'),
    "float16_autocast": ("around=_FP16", "around=_BF16"),
    "bfloat16_autocast_in_training": ('"bfloat16_autocast_in_training", train=True', '"bfloat16_autocast_in_training"'),
}
UNFINISHED = "verify/test_checks.py::test_a_run_that_proves_nothing_fails_everything[change{}]"

# fmt: off
MUTATIONS = tuple(Mutation(*row) for row in (
    ("weights_unchanged", "changed tensors always pass", "verify/checks.py",
     "self.none_of(\"weights_unchanged\", changed, tensors)", "self.none_of(\"weights_unchanged\", (), tensors)",
     JUDGED.format(0, "weights_unchanged")),
    ("weights_unchanged", "the judging forgets changed files", "verify/checks.py",
     "(*files_changed, *measured.tensors_changed)", "measured.tensors_changed",
     "verify/test_checks.py::test_a_changed_file_fails_the_weights_although_the_tensors_look_right"),
    ("weights_unchanged", "hashes are not compared", "verify/checks.py",
     "if files.get(file.path) != file.carried", "if False", HASHES),
    ("weights_unchanged", "changed files are ignored where the cap stays", "verify/verification.py",
     "judge_kept_cap(measured, changed, modes)", "judge_kept_cap(measured, (), modes)",
     "verify/test_verification.py::test_a_weight_file_that_is_not_the_source_s_fails_although_the_tensors_look_right"),
    ("weights_unchanged", "tensors in memory are looked up by name only", "verify/measure/models.py",
     "if name not in state or not _equal(state[name], tensor):", "if name not in state:",
     VERIFIED + "a_weight_that_the_code_alters_on_loading_is_caught"),
    ("buffers_rebuilt", "no wrong buffer is judged", "verify/checks.py",
     "measured.buffers_wrong, buffers", "(), buffers", JUDGED.format(1, "buffers_rebuilt")),
    ("buffers_rebuilt", "nothing of the loading is judged where the cap stays", "verify/checks.py",
     "        *by.loaded(measured, files_changed),\n        by.none_of(\"logits", "        by.none_of(\"logits",
     CAPPED.format(2)),
    ("buffers_rebuilt", "values of buffers are not compared", "verify/measure/models.py",
     " or not torch.equal(right[name], loaded[name])", "",
     VERIFIED + "rotary_tables_as_published_are_found_wrong"),
    ("cap_removed_exactly", "always passes", "verify/checks.py",
     "cap_error <= cap_tolerance", "True", JUDGED.format(2, "cap_removed_exactly")),
    ("cap_removed_exactly", "the limit itself does not pass", "verify/checks.py",
     "cap_error <= cap_tolerance", "cap_error < cap_tolerance",
     "verify/test_checks.py::test_a_value_exactly_at_its_limit_is_within_the_tolerance_and_not_beyond_the_limit"),
    ("cap_removed_exactly", "every model gets the tolerance of bfloat16", "verify/verification.py",
     "cap.scale, measured.head_dtype", 'cap.scale, "bfloat16"',
     "verify/test_verification.py::test_the_tolerance_follows_the_dtype_of_the_head"),
    ("cap_removed_exactly", "the magnitude is forgotten", "verify/measure/comparison.py",
     ".sub_(base).abs_().amax()", ".sub_(base).amax()", OFF_CAP),
    ("cap_removed_exactly", "the last dimension is left out", "verify/measure/comparison.py",
     "cap_error(self.cap, capped, raw)", "cap_error(self.cap, capped[..., :-1], raw[..., :-1])", OFF_CAP),
    ("cap_removed_exactly", "the first row is always taken for a synthetic one", "verify/measure/comparison.py",
     "synthetic = torch.equal(first_base, first)", "synthetic = True", OFF_CAP),
    ("cap_removed_exactly", "rows of the last chunk are left out", "verify/measure/comparison.py",
     "    if waiting:\n        yield _joined(waiting)", "", COMPARED +
     "the_last_row_of_a_text_that_is_compared_in_chunks_counts"),
    ("predictions_unchanged", "always passes", "verify/checks.py",
     "measured.predictions_changed,\n", "0,\n", JUDGED.format(3, "predictions_unchanged")),
    ("predictions_unchanged", "the capped model's own choice is compared", "verify/measure/comparison.py",
     "raw.argmax(-1, keepdim=True)", "capped.argmax(-1, keepdim=True)",
     COMPARED + "another_best_token_is_a_change_and_an_equal_one_is_not"),
    ("predictions_unchanged", "only the last batch counts", "verify/measure/comparison.py",
     "self.predictions_changed += other.predictions_changed", "self.predictions_changed = other.predictions_changed",
     COMPARED + "what_was_found_in_one_batch_is_still_there_after_the_last"),
    ("negative_logits", "none is enough", "verify/checks.py",
     "negative > 0", "negative >= 0",
     JUDGED.format(4, "negative_logits")),
    ("negative_logits", "zeros count as negative", "verify/measure/figures.py",
     "self.logits.negative / count", "self.logits.up_to(0) / count", FIGURES),
    ("relu_sparsity", "the limit itself passes", "verify/checks.py",
     "sparsity > min_logit_sparsity", "sparsity >= min_logit_sparsity",
     JUDGED.format(5, "relu_sparsity")),
    ("relu_sparsity", "the limit that was asked for is ignored", "verify/checks.py",
     "sparsity > min_logit_sparsity", "sparsity > MIN_LOGIT_SPARSITY",
     "verify/test_checks.py::test_the_limit_of_logit_sparsity_can_be_set"),
    ("relu_sparsity", "the synthetic first row counts", "verify/measure/comparison.py",
     "real = base[1:], patched[1:]", "real = base, patched", FIGURES),
    *((
        "modes_agree", f"{name} is another mode", "verify/measure/calls.py", *change, MODE.format(name),
    ) for name, change in MODES_RUN.items()),
    ("modes_agree", "what was saved is not loaded", "verify/measure/modes.py",
     "self._run(SAVED, loaded.to(device_of(self._model)))", "self._run(SAVED, self._model)",
     MODE.format("saved_and_loaded")),
    ("modes_agree", "logits that are all positive pass", "verify/measure/modes.py", "if here == 0:", "if False:",
     MODE.format("left_padding")),
    ("modes_agree", "always passes", "verify/checks.py",
     "len(wrong) if run else None, 0, detail, passed=not wrong", "0 if run else None, 0, detail, passed=True",
     JUDGED.format(6, "modes_agree")),
    ("modes_agree", "no mode is enough", "verify/checks.py", "len(wrong) if run else None", "len(wrong)",
     "verify/test_checks.py::test_a_model_that_was_run_in_no_mode_fails[modes0]"),
    ("modes_agree", "any difference from the base passes", "verify/tolerances.py",
     "<= cap_tolerance(cap.scale, mode.dtype", "<= 1e9 + cap_tolerance(cap.scale, mode.dtype",
     MODE_JUDGED.format(2)),
    ("modes_agree", "every mode gets the tolerance of bfloat16", "verify/tolerances.py",
     "cap_tolerance(cap.scale, mode.dtype", 'cap_tolerance(cap.scale, "bfloat16"', MODE_JUDGED.format(2)),
    ("modes_agree", "any difference from plain evaluation passes", "verify/tolerances.py",
     "if not (mode.drift or 0.0) <=", "if False and not (mode.drift or 0.0) <=", MODE_JUDGED.format(6)),
    ("rankings_kept", "always passes", "verify/checks.py",
     "measured.rankings_changed, detail", "0, detail", KEPT),
    ("rankings_kept", "only the best two tokens are compared", "verify/measure/comparison.py",
     "_RANKED = 100", "_RANKED = 2",
     COMPARED + "an_order_that_a_shift_disturbs_shows_below_the_best_token"),
    ("rankings_kept", "is not asked of a shifted model", "verify/verification.py",
     "shifted=bool(cap.shift)", "shifted=False",
     "verify/test_verification.py::test_a_shift_on_record_has_to_keep_the_rankings"),
    ("sparse_encoder_agrees", "disagreements pass", "verify/checks.py",
     " and found.disagreements == 0", "", THEIRS.format(1)),
    ("sparse_encoder_agrees", "any pooling passes", "verify/checks.py",
     'found.pooling == "SpladePooling" and ', "", THEIRS.format(0)),
    ("sparse_encoder_agrees", "fewer active dims than ours are no disagreement", "verify/measure/sparse_encoder.py",
     "sum(a != b for", "sum(a < b for", "verify/measure/test_sparse_encoder.py::test_each_text_that_disagrees_counts"),
    ("devices_agree", "any difference passes", "verify/tolerances.py",
     "found.largest <= found.tolerance and ", "", APART + "[beyond]"),
    ("devices_agree", "no text is enough", "verify/tolerances.py",
     " and found.texts > 0", "", APART + "[no texts]"),
    ("devices_agree", "the nearest device is judged", "verify/tolerances.py",
     "max(found, key=_excess", "min(found, key=_excess",
     "verify/test_tolerances.py::test_of_several_devices_the_one_that_lies_farthest_away_is_judged"),
    ("devices_agree", "the magnitude is forgotten", "verify/measure/agreement.py", "(mine - theirs).abs().amax()",
     "(mine - theirs).amax()", DIFFER + "one_logit_that_two_devices_compute_otherwise_shows[-0.25]"),
    ("devices_agree", "a difference that is no number is lost", "verify/measure/agreement.py",
     "difference != difference or ", "",
     DIFFER + "one_logit_that_two_devices_compute_otherwise_shows[nan]"),
    ("weights_converted", "hashes are not compared", "verify/checks.py",
     "if files.get(made.path) != records[made.path].after", "if False", HASHES),
    ("weights_converted", "a file that is gone passes", "verify/checks.py",
     "if files.get(made.path) != ", "if files.get(made.path, records[made.path].after) != ",
     "verify/test_checks.py::test_a_converted_file_that_is_gone_fails"),
    ("weights_converted", "numbers are compared in place of bytes", "patching/pickles.py",
     "one.contiguous().reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)", "one, other", READ_BACK),
    ("logits_finite", "always passes", "verify/checks.py",
     '("logits_finite", measured.not_finite,', '("logits_finite", 0,', CAPPED.format(3)),
    ("logits_finite", "the child counts none", "verify/measure/logits.py",
     "found.not_finite + figures.not_finite", "0", GARBAGE),
    ("sparse_encoder_loads", "any pooling passes", "verify/checks.py",
     " + (not theirs.splade)", "", CAPPED.format(4)),
    ("sparse_encoder_loads", "embeddings that are not finite pass", "verify/checks.py",
     "wrong = theirs.not_finite + ", "wrong = 0 + ", CAPPED.format(5)),
    ("sparse_encoder_loads", "the child counts none", "verify/measure/sparse_encoder.py",
     "int((~torch.isfinite(embeddings)).sum())", "0", GARBAGE),
    ("not finite", "logits that are not finite fail nothing", "verify/checks.py",
     'logits are not finite" if measured.not_finite else', 'logits are not finite" if False else',
     UNFINISHED.format(0)),
    ("not finite", "no position is enough", "verify/checks.py",
     "None if measured.positions else", "None if True else", UNFINISHED.format(1)),
    ("not finite", "a figure that is not finite passes", "verify/checks.py",
     "passed and finite is not None", "passed", "verify/test_checks.py::"
     "test_figures_that_are_missing_or_not_finite_fail_their_checks[missing2]"),
    ("not finite", "a model that did not run fails nothing", "verify/checks.py",
     "if self.failure is not None:", "if False:", UNFINISHED.format(2)),
    ("not finite", "an error of NaN is lost in the next text", "verify/measure/comparison.py",
     "one + other if one != one or other != other else max(one, other)", "max(other, one)",
     COMPARED + "a_logit_that_is_not_finite_is_counted_and_leaves_no_error_that_could_pass"),
    ("not finite", "they are not counted", "verify/measure/figures.py", "+= real.numel() - finite.numel()", "+= 0",
     "verify/measure/test_figures.py::test_values_that_are_not_finite_are_counted_and_kept_out_of_the_extremes"),
))
# fmt: on
