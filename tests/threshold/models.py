"""Makes trained-like models of the miniature, as they come out of `save_pretrained`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from patcher.planning.rewriting import rewrite_code
from tests.threshold import hand_made

MINI = Path(__file__).parents[1] / "snapshots" / "norbert4-mini"
CODE = "modeling_gptbert.py"


def write_loading(place: Path) -> Path:
    """The miniature as a capped SparseEncoder model whose code is repaired, in a folder of `place`."""
    from sentence_transformers import SparseEncoder

    torch.set_num_threads(2)
    base = shutil.copytree(MINI, place / "repaired-base")
    config = json.loads((base / "config.json").read_text())
    rewritten = rewrite_code({path.name: path.read_bytes() for path in base.glob("*.py")}, config)
    for name, content in rewritten.base.items():
        (base / name).write_bytes(content)
    target = place / "capped-repaired"
    SparseEncoder(str(base), trust_remote_code=True, device="cpu").save_pretrained(str(target))
    return target


def write_hand_made(loading: Path, target: Path) -> Path:
    """The hand-made model, with the code as published."""
    return as_published(hand_made.build(loading, target))


def as_published(target: Path) -> Path:
    """The folder with the code as published, and without what a repair wrote into config.json."""
    for path in MINI.glob("*.py"):
        shutil.copyfile(path, target / path.name)
    config = json.loads((target / "config.json").read_text("utf-8"))
    (target / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "is_decoder"}), "utf-8")
    return target
