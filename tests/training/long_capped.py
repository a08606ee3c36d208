"""Trains the miniature with its cap for as long as asked, to see how far a regulariser drives activations below 0.05.

    python -m tests.training.long_capped --minutes 10 [--out DIR]

An activation log(1 + 30 * sigmoid(x / 7.5)) is below 0.05 only where the raw logit x is below -47.8, and the flat end
of the sigmoid lets a regulariser push but weakly there. So the output bias is trained first and alone, at a rate that
takes it that far down in some dozen steps; it sinks for all tokens alike and leaves their order. Then everything is
trained, so that the tokens that matter come up again. Prints the checks of `patcher threshold` on what came out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patcher.codec import document
from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import load_evaluation
from patcher.threshold.measure import Request, measure
from patcher.threshold.repaired import repair
from tests.snapshots.corpus.pairs import pairs
from tests.training.bases import write_bases
from tests.training.demo import MINI, ROOT, say

RATE = 1e-3
BIAS_FIRST, BIAS_LATER = 1.0, 0.05
FIRST_STEPS = 110
WEIGHT = 1e-2
BATCH_SIZE = 16
MAX_LENGTH = 64
MOST_STEPS = 100_000


def train(base: Path, out: Path, seconds: float, seed: int) -> int:
    """Train with the library's trainer until the time is up; saves the model into `out`, returns the steps."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.sparse_encoder.callbacks.splade_callbacks import (
        SpladeRegularizerWeightSchedulerCallback,
    )
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
    from transformers import TrainerCallback, set_seed

    def elapsed() -> float:
        return (time.monotonic() - start) / seconds

    class StopInTime(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = elapsed() >= 1

    def rest(step: int) -> float:
        later = step - FIRST_STEPS
        return 0.0 if later < 0 else min(1.0, (later + 1) / 30) * max(0.05, 1 - elapsed())

    def bias(step: int) -> float:
        return 1.0 if step < FIRST_STEPS else BIAS_LATER / BIAS_FIRST

    set_seed(seed)
    start = time.monotonic()
    model = SparseEncoder(str(base), trust_remote_code=True, device="cpu")
    model.max_seq_length = MAX_LENGTH
    loss = SpladeLoss(model, SparseMultipleNegativesRankingLoss(model), WEIGHT, WEIGHT)
    output_bias = [tensor for name, tensor in model.named_parameters() if name.endswith("emb2vocab.bias")]
    others = [tensor for name, tensor in model.named_parameters() if not name.endswith("emb2vocab.bias")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": RATE}, {"params": output_bias, "lr": BIAS_FIRST}], weight_decay=0.0
    )
    arguments = SparseEncoderTrainingArguments(
        output_dir=str(out / "run"),
        max_steps=MOST_STEPS,
        per_device_train_batch_size=BATCH_SIZE,
        batch_sampler="no_duplicates",
        seed=seed,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = SparseEncoderTrainer(
        model,
        arguments,
        Dataset.from_list([dict(pair) for pair in pairs("train")]),
        loss=loss,
        # The library's schedule rises over a third of all steps; here it has to be up at once.
        callbacks=[StopInTime(), SpladeRegularizerWeightSchedulerCallback(loss, warmup_ratio=1 / MOST_STEPS)],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, [rest, bias])),
    )
    trainer.train()
    model.save_pretrained(str(out / "final"))
    return int(trainer.state.global_step)


def show(report: Mapping[str, Any]) -> str:
    """The checks and the sweep as text."""
    lines = [f"{'passed' if c['passed'] else 'FAILED'}  {c['name']:<24} {c['value']}" for c in report["checks"]]
    for row in report["rows"]:
        lines.append(
            f"threshold {row['threshold']:<5g} queries {row['query_embedding_sparsity']:.4f}"
            f"  documents {row['document_embedding_sparsity']:.4f}  nDCG@10 {row['ndcg@10']:.3f}"
            f"  right first {row['right_first']}"
        )
    return "\n".join([*lines, f"recommended threshold: {report['recommended']}"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.training.long_capped", description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="how long to train")
    parser.add_argument("--base", type=Path, default=MINI, help="the model to start from, with its cap")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "long-capped", help="the folder to write")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args(argv)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    steps = train(write_bases(options.base, out)["capped"], out, options.minutes * 60, options.seed)
    say(f"{steps} steps; measuring ...")
    model = repair(resolve(str(out / "final")))
    report = document(measure(model, load_evaluation(None, None, None), Request(sweep=True, device="cpu")))
    record = {"schema_version": 1, "steps": steps, "minutes": options.minutes, "report": report}
    (out / "report.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"steps: {steps}\n{show(report)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
