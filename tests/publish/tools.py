"""What the tests of publishing share: the command as a value, and a model small enough to publish a hundred times."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.verify.report import Check, Report, seal
from tests.hub import LocalHub

SOURCE = "ltg/norbert4-tiny"
# Small, because every patch and every check parses it; what the codemods do to the whole of it is tested elsewhere.
MODELING = b"""import torch
from torch import nn
from transformers import PreTrainedModel


class GptBertModel(PreTrainedModel):
    pass


class GptBertForMaskedLM(GptBertModel):
    _tied_weights_keys = ["classifier.weight"]

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, input_ids, attention_mask=None):
        subword_prediction = self.classifier(self.embedding(input_ids))
        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)
        return subword_prediction
"""
CONFIGURATION = b"from transformers import PretrainedConfig\n\n\nclass GptBertConfig(PretrainedConfig):\n    pass\n"
CARD = "---\nlicense: apache-2.0\nlanguage:\n- 'no'\n- se\ntags:\n- norbert\n---\n# Base\n"
CONFIG = {
    "architectures": ["GptBertForMaskedLM"],
    "auto_map": {
        "AutoConfig": "configuration_gptbert.GptBertConfig",
        "AutoModel": "modeling_gptbert.GptBertModel",
        "AutoModelForMaskedLM": "modeling_gptbert.GptBertForMaskedLM",
    },
    "hidden_size": 8,
    "vocab_size": 16,
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        assert self.out, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


class Patcher:
    """The `patcher` command, run in forks of one warm process. `last_pid` is that of the running or last command."""

    def __init__(self, env: Mapping[str, str], scratch: Path) -> None:
        self._scratch = scratch
        self.last_pid = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.publish.forker"],
            env=dict(env),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def __call__(self, *argv: str | Path, env: Mapping[str, str | None] | None = None) -> Outcome:
        """Run one command to its end; nobody is at the terminal."""
        self.start(*argv, env=env)
        return self.finish()

    def start(self, *argv: str | Path, env: Mapping[str, str | None] | None = None) -> int:
        """Start one command and return its process id."""
        out, err = self._scratch / "stdout", self._scratch / "stderr"
        order = {"argv": [str(word) for word in argv], "stdout": str(out), "stderr": str(err), "env": dict(env or {})}
        assert self._process.stdin is not None
        # The file of the last command must not be read for this one.
        for path in (out, err):
            path.unlink(missing_ok=True)
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.last_pid = int(self._line())
        return self.last_pid

    def finish(self) -> Outcome:
        """Wait for the command that was started."""
        code = int(self._line())
        return Outcome(code, *((self._scratch / name).read_text("utf-8") for name in ("stdout", "stderr")))

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def source_files(weights: bytes) -> dict[str, bytes]:
    """A model repository of the family: code with a cap, a card, a licence, an exported graph and weights."""
    return {
        "modeling_gptbert.py": MODELING,
        "configuration_gptbert.py": CONFIGURATION,
        "config.json": json.dumps(CONFIG, indent=2).encode(),
        "tokenizer.json": b'{"model": {"vocab": {}}}\n',
        "LICENSE": b"Apache License 2.0\n",
        "README.md": CARD.encode(),
        "model.onnx": b"a graph with a sigmoid",
        "model.safetensors": weights,
    }


def passing_report(folder: Path) -> None:
    """Write a report.json that passed and is about the bytes of the folder, without running the model."""
    model = load(folder)
    side = {
        "min": -9.5,
        "max": 3.25,
        "negative_fraction": 0.99,
        "logit_sparsity": 0.99,
        "embedding_sparsity": {"mean": 0.97, "min": 0.95},
        "active_dims": {"mean": 12.5, "max": 20},
    }
    environment = {"python": "3.11", "torch": "2.13", "transformers": "5.23", "device": "cpu", "dtype": "float32"}
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"README.md", "report.json"}
    }
    check = Check("relu_sparsity", True, 0.99, 0.98, "logit sparsity of the patched model")
    Report(
        source=model.source,
        environment=environment,
        checks=(check,),
        base=side,
        patched=side,
        files=files,
        texts=10,
    ).write(folder)


def sealed(report: dict[str, Any]) -> str:
    """A report that was changed, with the seal that belongs to it: as a verification would have written it."""
    body = {key: value for key, value in report.items() if key != "seal"}
    return json.dumps({**body, "seal": seal(body)}, indent=2) + "\n"


def writes(hub: Any) -> list[str]:
    """The requests that could have changed something."""
    reading = {"GET", "HEAD"}
    return [str(one) for one in hub.requests if one.method not in reading and "/paths-info/" not in one.path]


def hub_files(hub: Any, repo_id: str, revision: str = "main") -> dict[str, bytes]:
    """Every file of a repository but the Hub's own, with its content."""
    return {
        path: hub.read(repo_id, path, revision) for path in hub.files(repo_id, revision) if path != ".gitattributes"
    }


def older(hub: LocalHub, repo_id: str) -> None:
    """Make the publication one of an older version: other code, a file that no longer exists."""
    record = json.loads(hub.read(repo_id, "patch.json"))
    gone = {"path": "old.txt", "action": "copied", "sha256_before": "", "sha256_after": "", "size": 1}
    record["files"].append(gone)
    hub.commit(
        repo_id,
        {
            "modeling_gptbert.py": hub.read(repo_id, "modeling_gptbert.py") + b"# an older line\n",
            "patch.json": json.dumps(record).encode(),
            "old.txt": b"x",
            "evaluation.md": b"added by hand\n",
        },
    )
