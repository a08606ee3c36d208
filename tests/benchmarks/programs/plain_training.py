"""A training as a user without this tool would write it, with sentence-transformers alone.

    python plain_training.py BASE TRAIN EVAL STEPS OUT

Prints the CPU seconds of `trainer.train` as JSON. Imports nothing of this project, and is run by path.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.sparse_encoder.modules import SpladePooling


def main(base: str, train: str, held_out: str, steps: str, out: str) -> None:
    trust = {"trust_remote_code": True}
    options = {"model_kwargs": trust, "processor_kwargs": trust, "config_kwargs": trust, "max_seq_length": 64}
    transformer = Transformer(base, transformer_task="fill-mask", **options)
    model = SparseEncoder(modules=[transformer, SpladePooling("max")], similarity_fn_name="dot", trust_remote_code=True)
    rows = load_dataset("json", data_files=train, split="train")
    arguments = SparseEncoderTrainingArguments(
        output_dir=out,
        max_steps=int(steps),
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        learning_rate=1e-3,
        warmup_steps=0.1,
        seed=42,
        logging_steps=5,
        eval_strategy="steps",
        eval_steps=int(steps),
        save_steps=int(steps),
        load_best_model_at_end=True,
        metric_for_best_model="eval_dot_ndcg@10",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SparseEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.select_columns(["query", "positive", "negative"]),
        loss=SpladeLoss(
            model,
            SparseMultipleNegativesRankingLoss(model),
            document_regularizer_weight=1e-3,
            query_regularizer_weight=5e-5,
        ),
        evaluator=evaluator(Path(held_out)),
    )
    start = time.process_time()
    trainer.train()
    print(json.dumps({"cpu": time.process_time() - start}))
    model.save_pretrained(f"{out}/final")


def evaluator(path: Path) -> SparseInformationRetrievalEvaluator:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    passages = {text: str(n) for n, text in enumerate({row[k]: 0 for row in rows for k in ("positive", "negative")})}
    queries = {str(n): row["query"] for n, row in enumerate(rows)}
    relevant = {str(n): {passages[row["positive"]]} for n, row in enumerate(rows)}
    corpus = {key: text for text, key in passages.items()}
    return SparseInformationRetrievalEvaluator(queries, corpus, relevant, batch_size=16, name="eval", write_csv=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
