"""Writes the card of the miniature, with the figures that the build has measured."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

from tests.snapshots.mini_figures import Prediction, Sparsity
from tests.snapshots.mini_training import Recipe

TEMPLATE = Path(__file__).with_name("mini_card.md")


def write_card(
    folder: Path, config: dict[str, Any], recipe: Recipe, facts: dict[str, str], p: Prediction, s: Sparsity
) -> None:
    """Fills `mini_card.md`; a name without a value is an error."""
    penalty = ""
    if recipe.penalty:
        penalty = (
            f"\nIn the last {100 * (1 - recipe.penalty_start):.0f} % of the steps positive raw logits of wrong tokens"
            f" carried a penalty (their sum for\neach position, weight {recipe.penalty:g})."
        )
    fields = facts | {
        "layers": config["num_layers"],
        "hidden": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "vocab": f"{config['vocab_size']:,}",
        "context": f"{config['max_sequence_length']:,}",
        "local": config["local_window_length"],
        "global": config["global_window_length"],
        "ratio": config["local_global_ratio"],
        "steps": f"{recipe.steps:,}",
        "batch": f"{recipe.batch_tokens:,}",
        "chosen": f"{100 * recipe.chosen_share:.0f}",
        "masked": f"{100 * (1 - recipe.kept_share):.0f}",
        "kept": f"{100 * recipe.kept_share:.0f}",
        "random": recipe.random_tokens,
        "seed": recipe.seed,
        "bias": f"{recipe.first_bias:g}",
        "penalty": penalty,
        "masked_tokens": f"{p.tokens:,}",
        "model_ce": f"{p.model_cross_entropy:.2f}",
        "unigram_ce": f"{p.unigram_cross_entropy:.2f}",
        "model_acc": f"{100 * p.model_accuracy:.1f}",
        "unigram_acc": f"{100 * p.unigram_accuracy:.1f}",
        "texts": s.texts,
        "logit_sparsity": f"{100 * s.logit_sparsity:.2f}",
        "positives": f"{s.positives_per_position:.1f}",
        "with_one": f"{100 * s.positions_with_one:.1f}",
        "with_two": f"{100 * s.positions_with_two:.1f}",
        "embedding_sparsity": f"{100 * s.embedding_sparsity_mean:.2f}",
        "embedding_lowest": f"{100 * s.embedding_sparsity_min:.2f}",
        "active": f"{s.active_dims_mean:.0f}",
        "active_max": s.active_dims_max,
        "raw_min": f"{s.raw_min:.1f}",
        "raw_max": f"{s.raw_max:.1f}",
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields)
    (folder / "README.md").write_text(text, encoding="utf-8")
