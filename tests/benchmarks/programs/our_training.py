"""The training script of this project, which prints the CPU seconds of `trainer.train` as JSON on its last line.

python our_training.py TEMPLATES CONFIG
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

sys.path.insert(0, sys.argv[1])

import train_splade
from sentence_transformers import SparseEncoderTrainer

original, spent = SparseEncoderTrainer.train, []


def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
    start = time.process_time()
    try:
        return original(self, *args, **kwargs)
    finally:
        spent.append(time.process_time() - start)


SparseEncoderTrainer.train = timed
code = train_splade.main(sys.argv[2:])
print(json.dumps({"cpu": sum(spent)}))
raise SystemExit(code)
