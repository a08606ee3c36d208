"""Models made from the miniature, as people have them: dense embeddings, classifiers and taggers, code as published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.conftest import MINI

LABELS = 3
FOREIGN = "ltg/norbert4-base--modeling_gptbert"
_ST = "sentence_transformers.models"
# What sentence-transformers writes beside a dense model.
DENSE = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": f"{_ST}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_ST}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{_ST}.Normalize"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 80, "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
    "config_sentence_transformers.json": {
        "prompts": {"query": "spørsmål: ", "document": "tekst: "},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    },
}
# And beside a SPLADE model, version 5.1.
_SPARSE = "sentence_transformers.sparse_encoder.models"
SPLADE_51 = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": f"{_SPARSE}.MLMTransformer"},
        {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{_SPARSE}.SpladePooling"},
    ],
    "1_SpladePooling/config.json": {
        "pooling_strategy": "max",
        "activation_function": "relu",
        "word_embedding_dimension": 8192,
    },
    "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
    "config_sentence_transformers.json": {
        "model_type": "SparseEncoder",
        "__version__": {"sentence_transformers": "5.1.0", "transformers": "4.57.6", "pytorch": "2.8.0"},
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    },
}

PRETRAINING = """

class GptBertForPreTraining(GptBertForMaskedLM):
    def __init__(self, config: GptBertConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.order = nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids=None, return_dict=None, **kwargs):
        output = super().forward(input_ids, return_dict=True, output_hidden_states=True, **kwargs)
        output.order_logits = self.order(output.hidden_states[-1][:, 0])
        return output if return_dict is not False else output.to_tuple()
"""


def write_dense(target: Path) -> Path:
    """Dense sentence embeddings; as after training on a Hub model, auto_map names its repository for other classes."""
    auto_map = {"AutoConfig": "configuration_gptbert.GptBertConfig", "AutoModel": "modeling_gptbert.GptBertModel"}
    foreign = {"AutoModelForMaskedLM": f"{FOREIGN}.GptBertForMaskedLM"}
    return _add(_write(target, "GptBertModel", {}, auto_map={**foreign, **auto_map}), DENSE)


def write_sparse_autoencoder(target: Path) -> Path:
    """A sparse model whose values are not logits: an autoencoder over the dense embeddings (CSR)."""
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    torch.manual_seed(7)
    folder = write_dense(target)
    autoencoder = {"idx": 2, "name": "2", "path": "2_SparseAutoEncoder", "type": f"{_SPARSE}.SparseAutoEncoder"}
    kind = {**DENSE["config_sentence_transformers.json"], "model_type": "SparseEncoder", "similarity_fn_name": "dot"}
    changed = {"modules.json": [*DENSE["modules.json"][:2], autoencoder], "config_sentence_transformers.json": kind}
    (folder / "2_SparseAutoEncoder").mkdir()
    SparseAutoEncoder(80, 128, k=8).save(str(folder / "2_SparseAutoEncoder"))
    return _add(folder, changed)


def write_splade_51(target: Path) -> Path:
    """A SPLADE model as sentence-transformers 5.1 saves it."""
    return _add(shutil.copytree(MINI, target), SPLADE_51)


def write_inference_free(target: Path, repaired: Path) -> Path:
    """A SPLADE model whose queries pass static weights, its code as published; `repaired` loads on this version."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    whole = SparseEncoder(str(repaired), trust_remote_code=True, device="cpu")
    static = SparseStaticEmbedding(tokenizer=whole.tokenizer, weight=torch.full((8192,), 0.02))
    router = Router.for_query_document(query_modules=[static], document_modules=[whole[0], whole[1]])
    SparseEncoder(modules=[router]).save_pretrained(str(target), create_model_card=False)
    (encoder,) = target.glob("document_0_*")
    shutil.copyfile(MINI / "config.json", encoder / "config.json")
    for path in target.rglob("modeling_gptbert.py"):
        shutil.copyfile(MINI / path.name, path)
    return target


def write_pickled(target: Path) -> Path:
    """The miniature with pickled weights and no others."""
    shutil.copytree(MINI, target)
    torch.save(load_file(target / "model.safetensors"), target / "pytorch_model.bin")
    (target / "model.safetensors").unlink()
    return target


def write_causal(target: Path) -> Path:
    """A model that continues texts, with the vocabulary head of the miniature."""
    return _write(target, "GptBertForCausalLM", _vocabulary_head())


def write_pretraining(target: Path) -> Path:
    """A model as it comes out of pre-training, whose class is one of its own with a second head."""
    auto_map = json.loads((MINI / "config.json").read_text("utf-8"))["auto_map"]
    auto_map = {"AutoModelForPreTraining": "modeling_gptbert.GptBertForPreTraining", **auto_map}
    torch.manual_seed(7)
    head = {"order.weight": torch.randn(2, 80) / 9, "order.bias": torch.randn(2), **_vocabulary_head()}
    folder = _write(target, "GptBertForPreTraining", head, auto_map=auto_map)
    with (folder / "modeling_gptbert.py").open("a", encoding="utf-8") as file:
        file.write(PRETRAINING)
    return folder


def _vocabulary_head() -> dict[str, torch.Tensor]:
    tensors = load_file(MINI / "model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("classifier.")}


def write_classifier(target: Path, task: str = "SequenceClassification", labels: int = LABELS) -> Path:
    """A model with a head for a task, whose values are random."""
    torch.manual_seed(7)
    head = {
        "head.projection.weight": torch.randn(80, 80) / 9,
        "head.projection.scale": torch.randn(80) / 9,
        "head.emb2labels.weight": torch.randn(labels, 80) / 9,
        "head.emb2labels.scale": torch.randn(80) / 9,
        "head.emb2labels.bias": torch.randn(labels),
    }
    names = {str(number): f"label {number}" for number in range(labels)}
    more = {"id2label": names, "label2id": {name: int(key) for key, name in names.items()}}
    return _write(target, f"GptBertFor{task}", head, **(more if "Classification" in task else {}))


def _add(target: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
    return target


def _write(target: Path, architecture: str, head: dict[str, torch.Tensor], **change: Any) -> Path:
    shutil.copytree(MINI, target)
    config = json.loads((target / "config.json").read_text("utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "architectures": [architecture], **change}), "utf-8")
    tensors = load_file(target / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    save_file({**kept, **head}, target / "model.safetensors", metadata={"format": "pt"})
    return target
