"""Pins what makes the miniature as hard to handle as the models that it stands for."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from tests.snapshots import build
from tests.snapshots.corpus import passages
from tests.snapshots.mini_figures import measure_prediction, measure_sparsity
from tests.snapshots.mini_training import Ids, capped

MINI = build.SOURCE
CAP = "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)"
TEXTS = [
    "Hva er hovedstaden i Norge?",
    "Katten er et pattedyr som spiser mus og sover på sofaen mens det regner ute.",
    "Eg såg ein gauk i går.",
    "Mun hálan sámegiela.",
]
PER_LAYER = {
    "attention.qk_proj.weights.0",
    "attention.qk_proj.weights.1",
    "attention.qk_proj.scale",
    "attention.v_proj.weight",
    "attention.v_proj.scale",
    "attention.out_proj.weight",
    "attention.out_proj.scale",
    "attention.q_scale",
    "attention.k_scale",
    "mlp.up_proj.weights.0",
    "mlp.up_proj.weights.1",
    "mlp.up_proj.scale",
    "mlp.down_proj.weight",
    "mlp.down_proj.scale",
    "lambdas_v",
    "lambdas_qk",
    "lambdas_mlp",
    "lambdas_out",
}
ONCE = {
    "embedding.word_embedding.weight",
    "embedding.word_scale",
    "classifier.projection.weight",
    "classifier.projection.scale",
    "classifier.emb2vocab.weight",
    "classifier.emb2vocab.scale",
    "classifier.emb2vocab.bias",
}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return json.loads((MINI / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runnable(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> Path:
    """A copy of the miniature whose config.json has the key that transformers 5 misses."""
    folder = tmp_path_factory.mktemp("copies") / "runnable"
    shutil.copytree(MINI, folder)
    (folder / "config.json").write_text(json.dumps(config | {"is_decoder": False}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def fresh(runnable: Path) -> Any:
    """The model as it is meant: built by its own code, then given the weights."""
    settings = AutoConfig.from_pretrained(runnable, trust_remote_code=True)
    model = AutoModelForMaskedLM.from_config(settings, trust_remote_code=True).eval()
    model.load_state_dict(load_file(MINI / "model.safetensors"))
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MINI, trust_remote_code=True)


@pytest.fixture(scope="module")
def ids(config: dict[str, Any]) -> Ids:
    return Ids(
        pad=config["pad_token_id"],
        bos=config["bos_token_id"],
        eos=config["eos_token_id"],
        mask=config["mask_token_id"],
        first_ordinary=len(build.SPECIAL_TOKENS),
        vocab_size=config["vocab_size"],
    )


def raw_and_output(model: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        raw = model.classifier(model.get_contextualized_embeddings(**batch)[-1])
        return raw, model(**batch).logits


def test_the_folder_is_complete_and_small_enough_to_commit() -> None:
    assert {path.name for path in MINI.iterdir()} == {
        ".gitattributes",
        "README.md",
        "config.json",
        "configuration_gptbert.py",
        "model.onnx",
        "model.safetensors",
        "modeling_gptbert.py",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in MINI.iterdir()) <= 8_000_000


def test_the_config_has_none_of_the_keys_that_would_hide_a_defect(config: dict[str, Any]) -> None:
    assert not {"is_decoder", "tie_word_embeddings", "dtype", "torch_dtype"} & config.keys()
    assert config["architectures"] == ["GptBertForMaskedLM"]


def test_every_auto_class_leads_to_a_class_of_the_code(config: dict[str, Any]) -> None:
    assert len(config["auto_map"]) == 8
    for target in config["auto_map"].values():
        module, name = target.split(".")
        tree = ast.parse((MINI / f"{module}.py").read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_exactly_two_classes_hold_the_cap() -> None:
    tree = ast.parse((MINI / "modeling_gptbert.py").read_text(encoding="utf-8"))
    holders = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Assign) and ast.unparse(inner) == CAP
    ]
    assert holders == ["GptBertForMaskedLM", "GptBertForCausalLM"]


def test_the_parameters_have_the_names_of_the_family(config: dict[str, Any]) -> None:
    tensors = load_file(MINI / "model.safetensors")
    layers = range(config["num_layers"])
    assert tensors.keys() == ONCE | {f"encoder.layers.{i}.{name}" for i in layers for name in PER_LAYER}
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    # a repair that ties the two matrices has to be noticed
    assert not torch.equal(tensors["embedding.word_embedding.weight"], tensors["classifier.emb2vocab.weight"])


def test_as_shipped_it_fails_on_the_missing_is_decoder() -> None:
    with pytest.raises(AttributeError, match="is_decoder"):
        AutoModelForMaskedLM.from_pretrained(MINI, trust_remote_code=True)


def test_loading_replaces_the_rotary_tables_and_says_nothing(runnable: Path, fresh: Any) -> None:
    loaded, info = AutoModelForMaskedLM.from_pretrained(runnable, trust_remote_code=True, output_loading_info=True)
    assert not any(info.values())
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), fresh.parameters(), strict=True))
    tables = dict(fresh.named_buffers())
    assert len(tables) == 2 * fresh.config.num_layers
    wrong = [name for name, table in loaded.named_buffers() if not torch.equal(table, tables[name])]
    assert wrong


def test_freshly_built_rotary_tables_are_right(fresh: Any) -> None:
    size = fresh.config.query_key_head_size
    for layer, theta in ((0, 10_000), (3, 160_000)):
        rope = fresh.encoder.layers[layer].attention.rope_embedding
        angle = 7 * theta ** -(2 / size)
        for table, expected in ((rope.cos_matrix, torch.cos), (rope.sin_matrix, torch.sin)):
            assert table.shape == (fresh.config.max_sequence_length, size)
            assert table[7, 1].item() == pytest.approx(expected(torch.tensor(angle)).item(), abs=1e-5)
            assert torch.equal(table[:, : size // 2], table[:, size // 2 :])


def test_tied_weights_in_a_list_break_saving(fresh: Any, tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="keys"):
        fresh.save_pretrained(tmp_path)


def test_capped_logits_lie_between_zero_and_thirty(fresh: Any, tokenizer: Any) -> None:
    _, logits = raw_and_output(fresh, tokenizer(TEXTS, return_tensors="pt", padding=True))
    assert logits[:, 1:].min() > 0 and logits[:, 1:].max() < 30


def test_the_first_row_is_synthetic_and_the_others_are_shifted(
    fresh: Any, tokenizer: Any, config: dict[str, Any]
) -> None:
    raw, logits = raw_and_output(fresh, tokenizer(TEXTS, return_tensors="pt", padding=True))
    first = torch.zeros(config["vocab_size"])
    first[config["bos_token_id"]] = 1.0
    assert torch.equal(logits[:, 0], first.expand(len(TEXTS), -1))
    assert torch.equal(logits[:, 1:], capped(raw[:, :-1]))


def test_padding_changes_nothing(fresh: Any, tokenizer: Any) -> None:
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True)
    _, together = raw_and_output(fresh, batch)
    for row, text in enumerate(TEXTS):
        _, alone = raw_and_output(fresh, tokenizer(text, return_tensors="pt"))
        assert torch.allclose(together[row, : alone.size(1)], alone[0], atol=1e-4)


def test_the_tokenizer_puts_bos_first_and_eos_last(tokenizer: Any, config: dict[str, Any]) -> None:
    for text in TEXTS:
        tokens = tokenizer(text)["input_ids"]
        assert (tokens[0], tokens[-1]) == (config["bos_token_id"], config["eos_token_id"])
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text
    for name, token in build.SPECIAL_TOKENS.items():
        assert tokenizer.convert_tokens_to_ids(token) == config[f"{name}_id"]
    assert len(tokenizer) == config["vocab_size"]


def test_raw_logits_are_mostly_negative_but_not_all(fresh: Any, tokenizer: Any, ids: Ids) -> None:
    encoded = [tokenizer(text)["input_ids"] for text in build.sparsity_texts(TEXTS)]
    sparsity = measure_sparsity(fresh, encoded, ids)
    assert sparsity.logit_sparsity > 0.99
    assert sparsity.embedding_sparsity_mean > 0.985
    assert sparsity.positions_with_one > 0.5
    assert sparsity.raw_max > 5


def test_it_predicts_held_out_words_better_than_their_frequency(fresh: Any, tokenizer: Any, ids: Ids) -> None:
    texts = passages()
    seen = [tokenizer(text)["input_ids"] for number, text in enumerate(texts[:4000]) if number % build.HELD_OUT_EVERY]
    held_out = [tokenizer(text)["input_ids"] for text in texts[:: build.HELD_OUT_EVERY][:200]]
    prediction = measure_prediction(fresh, seen, held_out, ids)
    assert prediction.model_cross_entropy < prediction.unigram_cross_entropy - 2
    assert prediction.model_accuracy > 2 * prediction.unigram_accuracy


def test_the_card_calls_norwegian_no_and_not_false() -> None:
    front = yaml.safe_load((MINI / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert front["language"] == ["no", "nb", "nn", "se"]
    assert front["license"] == "apache-2.0"


def test_the_same_build_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(passages()[:300]), encoding="utf-8")
    digests = []
    for name in ("one", "two"):
        arguments = ["--out", str(tmp_path / name), "--steps", "2", "--texts", str(tmp_path / "texts.txt")]
        assert build.main(arguments) == 0
        files = sorted((tmp_path / name).iterdir())
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert digests[0] == digests[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "texts.txt", "two"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    assert build.main(["--out", str(tmp_path)]) == 2
    assert "something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
