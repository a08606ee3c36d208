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
EDITED = VERIFIED + "a_folder_that_is_no_longer_what_patch_wrote_fails[{}]"
ALTERED = "source/test_snapshot.py::test_a_file_of_the_cache_that_is_not_the_one_that_the_hub_lists_is_refused[{}]"
GARBAGE = "pipeline/test_trained.py::test_wrong_tables_and_logits_that_are_not_finite_are_caught"
READ_BACK = "patching/test_pickles.py::test_a_tensor_that_reads_back_otherwise_is_found"
ACT = "sandbox/test_hook.py::test_each_act_comes_to_what_the_table_says[{}-{}]"
LIVES = "sandbox/test_guard.py::test_a_killed_parent_leaves_no_child[{}]"
ABANDONED = "test_temporary.py::test_"
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

LANDED = "publish/test_commit.py::test_an_answer_that_says_nothing_is_no_refusal[False-200-{}]"
REPAIRS = "publish/test_repairs.py::test_"

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
    ("weights_unchanged", "a tensor that only the patched model has passes", "verify/measure/models.py",
     "(set(state) & set(other)) - filed", "set(state) - filed",
     VERIFIED + "a_tensor_that_only_the_patched_model_has_fails"),
    ("weights_unchanged", "random numbers pass for the vocabulary's weights", "verify/measure/logits.py",
     "request.base and request.vocabulary not in state[name].shape", "request.base",
     VERIFIED + "a_tensor_too_few_for_both_models_is_named_and_no_difference_but_in_the_vocabulary"
     "[Embedding(8192, 2)-fails1]"),
    ("weights_unchanged", "weights that no loader reads are carried over", "planning/files.py",
     "path.endswith(_SAFETENSORS) and path not in loaded", "False",
     VERIFIED + "weights_that_transformers_does_not_load_are_left_out_and_change_nothing[model.fp16.safetensors]"),
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
    ("sparse_encoder_agrees", "is not asked by default", "verify/settings.py",
     'find_spec("sentence_transformers") is not None if asked is None else asked', "bool(asked)",
     "verify/test_settings.py::test_sparse_encoder_runs_where_it_is_installed_unless_the_user_says_otherwise"),
    ("sparse_encoder_agrees", "the plan overlooks a dense model", "planning/layout.py",
     "if masked and MODULES not in snapshot.paths:", "if masked:",
     "planning/test_plan.py::test_the_cap_of_a_dense_model_is_not_removed_and_its_code_is_repaired"),
    ("sparse_encoder_agrees", "the plan overlooks architectures", "planning/layout.py",
     "if masked and MODULES not in snapshot.paths:", "if MODULES not in snapshot.paths:",
     "planning/test_plan.py::test_a_base_to_which_sparse_encoder_adds_a_random_autoencoder_is_refused[names2]"),
    ("files_unchanged", "a changed file passes", "verify/checks.py", "if files.get(path, digest) != digest", "if False",
     EDITED.format("_append-config.json-changed")),
    ("files_unchanged", "a lost file passes", "verify/checks.py",
     "lost = [path for path in recorded if path not in files]", "lost: list[str] = []",
     EDITED.format("_drop-special_tokens_map.json-lost")),
    ("files_unchanged", "more code passes", "verify/checks.py", 'path.endswith(".py") or _is_loaded', "_is_loaded",
     EDITED.format("_append-sub/more.py-added")),
    ("files_unchanged", "more configuration passes", "verify/checks.py",
     ' or _is_loaded(path, folders)]', "]", EDITED.format("_append-modules.json-added")),
    ("files_unchanged", "notes of the user fail", "verify/checks.py",
     "len(changed) + len(lost) + len(added)", "len(changed) + len(lost) + len(unknown)",
     "verify/test_checks.py::test_notes_and_checkpoints_beside_the_model_are_named_and_fail_nothing"),
    ("files_unchanged", "is forgotten", "verify/verification.py", ", files_unchanged(model, files)),", "),",
     VERIFIED + "the_patched_miniature_passes_every_check"),
    ("listed bytes", "any content has the right blob id", "source/snapshot.py",
     "return self.blob_id is None or git_blob_id(content) == self.blob_id", "return True",
     "source/test_snapshot.py::test_a_content_matches_its_listing_and_no_other[listed1]"),
    ("listed bytes", "any content has the right SHA-256", "source/snapshot.py",
     "return sha256_of(content) == self.sha256", "return True",
     "source/test_snapshot.py::test_a_content_matches_its_listing_and_no_other[listed0]"),
    ("listed bytes", "nothing is compared when it is fetched", "source/snapshot.py",
     "file.path in paths and not file.is_large", "False",
     "source/test_snapshot.py::test_a_snapshot_of_the_cache_that_is_given_as_a_folder_is_compared_too"),
    ("listed bytes", "the cached listing is not read", "source/snapshot.py",
     "listed.get(name) or _named_hash(link)", "_named_hash(link)", ALTERED.format("modeling_gptbert.py-the link-True")),
    ("listed bytes", "the names of cached blobs are not read", "source/snapshot.py",
     "listed.get(name) or _named_hash(link)", "listed.get(name) or {}", ALTERED.format("README.md-no listing-True")),
    ("listed bytes", "the writer takes any weights", "patching/writer.py",
     "after if action == \"copied\" else known or before", "before",
     "patching/test_writer.py::test_weights_that_are_not_those_that_the_hub_lists_are_not_carried_over"),
    ("listed bytes", "a threshold takes any weights", "threshold/repaired.py",
     "if file.is_large and file.path in self.layout.files", "if False",
     "threshold/test_repaired.py::test_weights_that_are_not_those_that_the_hub_lists_are_refused"),
    ("listed bytes", "publishing forgets the source's listing", "publish/preflight.py",
     "    check_source(model, listed)\n", "",
     "publish/test_preflight.py::test_a_folder_that_was_made_from_other_files_than_the_source_s_is_refused"
     "[words0-tokenizer.json]"),
    ("listed bytes", "a check believes the record", "publish/check.py",
     "same = there[path].matches(", "same = bool(", "publish/test_check.py::test_a_change_since_is_found[change0-"
     "source_files_equal]"),
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
    ("sparse_encoder_loads", "a random autoencoder passes", "verify/measure/sparse_encoder.py",
     ' and "SparseAutoEncoder" not in kinds', "",
     "pipeline/test_trained.py::test_a_model_to_which_sparse_encoder_adds_a_random_autoencoder_fails"),
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
    ("publishing", "what can't be read is taken for a refusal", "publish/commit.py",
     "if status_of(error) in _REFUSALS:", "if status_of(error) in _REFUSALS or isinstance(error, KeyError):",
     LANDED.format("{}")),
    ("publishing", "an answer without a commit is believed", "publish/commit.py",
     "_commit_id(answer.oid)", "str(answer.oid)",
     LANDED.format(
         '{"commitUrl": "HUB/ola/x/commit/1", "pullRequestUrl": "HUB/ola/x/discussions/1", "commitOid": null}'
     )),
    ("publishing", "a tag is not read back", "publish/commit.py",
     "if not is_there():", "if failure is not None and not is_there():",
     "publish/test_commit.py::test_what_is_made_is_read_back_whatever_the_answer_says[/tag/-{}]"),
    ("publishing", "the client repeats what the caller repeats", "source/request_limit.py",
     "    REQUEST_LIMIT.retries = False", "    REQUEST_LIMIT.retries = True",
     "source/test_request_limit.py::test_the_client_repeats_a_request_unless_the_caller_does"),
    ("publishing", "a limit is only for requests without one", "source/request_limit.py",
     "min(seconds, REQUEST_LIMIT.seconds)", "seconds",
     "source/test_request_limit.py::test_a_limit_is_the_most_that_a_request_gets"),
    ("publishing", "other codemods are sent to the source", "publish/repairs.py",
     "if name not in REPAIRS]", "if name == 'soft_cap']",
     REPAIRS + "a_folder_with_more_than_the_repairs_is_refused[words2]"),
    ("publishing", "the cap's removal is sent to the source", "publish/repairs.py",
     "if model.soft_cap is not None or others:", "if False:",
     REPAIRS + "a_folder_with_more_than_the_repairs_is_refused[words0]"),
    ("publishing", "changes of the source are overwritten", "publish/repairs.py",
     "if not same and not file.equals(found):", "if False:",
     REPAIRS + "a_source_whose_code_moved_on_is_refused"),
    ("publishing", "everything is sent to the source", "publish/plan.py",
     "wanted = repairs.repaired_files(model)", 'wanted = published_files(model, report, "card")',
     REPAIRS + "a_pull_request_to_the_source_changes_the_repaired_code_and_nothing_else"),
    ("publishing", "a second pull request is opened", "publish/plan.py",
     "return all(file.equals(files.get(file.path)) for file in wanted)", "return False",
     REPAIRS + "a_second_run_opens_no_second_pull_request"),
    ("publishing", "a mention in a check's detail is one", "documents/templating.py",
     "code(part) if odd % 2 else", "part if odd % 2 else",
     "documents/test_card.py::test_a_description_speaks_for_the_tool_and_never_for_the_model[0-False]"),
    ("publishing", "a licence keeps its invisible characters", "planning/plan.py",
     "key: printable(data[key])", "key: data[key]",
     "planning/test_plan.py::test_odd_front_matter_of_the_source_never_stops_a_plan[invisible]"),
    ("publishing", "a folder mounted from the same disk is no mount point", "patching/staging.py",
     " or os.fsencode(os.path.realpath(path)) in points", "",
     "patching/test_staging.py::test_a_mount_point_is_refused_before_anything_is_done[--bind {other} {out}]"),
    ("publishing", "deep folders stay", "temporary.py",
     'if os.name == "posix" and folder.exists():', "if False:",
     "test_temporary.py::test_a_folder_is_removed_however_deep_it_is[3000]"),
    ("publishing", "a full folder for temporary files is blamed on the output", "errors.py",
     "return temporary if left < min(_FULL, other) else None", "return None",
     "test_temporary.py::test_a_full_folder_for_temporary_files_is_named_and_not_the_output[16k]"),
    ("sandbox", "the network is the machine's", "sandbox/bubblewrap.py",
     '("--unshare-all", ', '("--unshare-all", "--share-net", ',
     ACT.format("bubblewrap", "a-connection-by-a-program")),
    ("sandbox", "settings of the kernel can be written", "sandbox/bubblewrap.py", '"--remount-ro", "/proc", ', "",
     ACT.format("bubblewrap", "write-a-setting-of-the-kernel-by-a-program")),
    ("sandbox", "the keys of the session stay", "sandbox/child.py", "libc.syscall(keyctl, 1, None)", "keyctl",
     ACT.format("bubblewrap", "a-key-of-the-session-by-a-program")),
    ("sandbox", "the model can be written", "sandbox/bubblewrap.py",
     'words += ["--ro-bind", os.path.realpath(path), path]', 'words += ["--bind", os.path.realpath(path), path]',
     "sandbox/test_bubblewrap.py::test_it_lets_nothing_be_written_but_the_scratch_folder[given]"),
    ("sandbox", "it outlives its parent in bubblewrap", "sandbox/bubblewrap.py", '"--die-with-parent", ', "",
     LIVES.format("bubblewrap")),
    ("sandbox", "it outlives its parent under the hook", "sandbox/child.py", "libc.prctl(1, signal.SIGKILL)", "libc",
     LIVES.format("hook")),
    ("sandbox", "folders that are open are forgotten", "sandbox/hook.py",
     "(*arguments[folders:], -1, -1)[number]", "-1",
     ACT.format("hook", "change-its-rights-through-a-folder-that-is-open")),
    ("sandbox", "os.open may climb", "sandbox/hook.py", "climbs or (is_folder", "(is_folder",
     ACT.format("hook", "a-path-that-climbs-out-of-an-open-folder")),
    ("sandbox", "devices are not private", "sandbox/access.py", '"/proc", "/dev"]', '"/proc"]',
     ACT.format("hook", "read-another-terminal")),
    ("sandbox", "a folder that holds the home is readable", "sandbox/access.py", "if _within(private, path) is None]",
     "if path]", "sandbox/test_access.py::"
     "test_what_python_needs_is_readable_but_no_folder_that_holds_the_home"),
    ("sandbox", "what is denied is not told", "sandbox/guard.py", "for attempt in child.denied:", "for attempt in ():",
     "sandbox/test_hook.py::test_what_is_denied_is_told_and_the_run_goes_on[hook]"),
    ("sandbox", "a claimed folder is removed", "temporary.py",
     "fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))", "pass",
     ABANDONED + "a_folder_is_claimed_until_its_process_ends_however_it_ends"),
    ("sandbox", "a new folder that was removed is taken", "temporary.py", "if lock is None or (folder.exists() and",
     "if lock is None or True or (folder.exists() and",
     ABANDONED + "a_folder_that_another_process_removed_meanwhile_is_made_again"),
))
# fmt: on
