"""The output of any class is told apart text by text: a row for each token, or one for the text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
)

from patcher.verify.measure.outputs import gives_rows, has_vocabulary_head, rows, shaped, targets, tensors

LENGTHS = [3, 2]  # of two texts in one batch
BY_TOKEN = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)


def found(output: object, auto_class: str) -> list[list[list[float]]]:
    return [text.tolist() for text in rows(tensors(output, 2), auto_class, LENGTHS)]


def test_padding_is_left_out_and_so_is_everything_that_is_no_output_of_a_text() -> None:
    output = MaskedLMOutput(loss=torch.tensor(1.0), logits=BY_TOKEN, hidden_states=(BY_TOKEN,))
    expected = [BY_TOKEN[0].tolist(), BY_TOKEN[1, :2].tolist()]
    assert found(output, "AutoModelForMaskedLM") == expected
    assert found((torch.tensor(1.0), BY_TOKEN, None, (BY_TOKEN,)), "AutoModelForMaskedLM") == expected


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_the_labels_of_a_text_are_no_tokens(labels: int) -> None:
    logits = torch.arange(2.0 * labels).reshape(2, labels)
    texts = found(SequenceClassifierOutput(logits=logits), "AutoModelForSequenceClassification")
    assert texts == [[row.tolist()] for row in logits]


def test_the_logits_of_two_ends_stand_side_by_side() -> None:
    start = torch.arange(6.0).reshape(2, 3)
    texts = found(QuestionAnsweringModelOutput(start_logits=start, end_logits=-start), "AutoModelForQuestionAnswering")
    assert texts == [[[0, 0], [1, -1], [2, -2]], [[3, -3], [4, -4]]]


def test_a_pooled_output_is_part_of_every_row() -> None:
    pooled = torch.tensor([[7.0], [8.0]])
    texts = found(BaseModelOutputWithPooling(last_hidden_state=BY_TOKEN, pooler_output=pooled), "AutoModel")
    assert texts[1] == [[*row, 8.0] for row in BY_TOKEN[1, :2].tolist()]


def test_a_class_that_compares_choices_gets_two_of_them() -> None:
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    assert shaped(inputs, "AutoModelForMultipleChoice")["input_ids"].tolist() == [[[5, 6, 7], [5, 5, 7]]]
    assert shaped(inputs, "AutoModel")["input_ids"].tolist() == [[5, 6, 7]]


@pytest.mark.parametrize(
    ("task", "config", "expected"),
    [
        ("ForMaskedLM", {}, {"labels": [[5, 6, 7], [8, 9, -100]]}),
        ("", {}, {"labels": [[5, 6, 7], [8, 9, -100]]}),
        ("ForTokenClassification", {"num_labels": 4}, {"labels": [[1, 2, 3], [0, 1, -100]]}),
        ("ForSequenceClassification", {"num_labels": 4}, {"labels": [0, 0]}),
        ("ForSequenceClassification", {"num_labels": 1}, {"labels": [0.0, 0.0]}),
        (
            "ForSequenceClassification",
            {"num_labels": 2, "problem_type": "multi_label_classification"},
            {"labels": [[0.0, 0.0], [0.0, 0.0]]},
        ),
        ("ForMultipleChoice", {"num_labels": 1}, {"labels": [0, 0]}),
        ("ForQuestionAnswering", {}, {"start_positions": [0, 0], "end_positions": [1, 1]}),
    ],
)
def test_each_class_gets_targets_that_its_loss_takes(task: str, config: dict[str, object], expected: object) -> None:
    """A wrong one would be an error of the code, or end the process on a GPU."""
    ids, mask = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    found = targets(ids, mask, f"AutoModel{task}", SimpleNamespace(**config))
    assert {name: one.tolist() for name, one in found.items()} == expected
    assert all(one.is_floating_point() is isinstance(one.flatten().tolist()[0], float) for one in found.values())


def test_a_text_has_one_label_or_one_for_each_token() -> None:
    names = ("SequenceClassification", "MultipleChoice", "TokenClassification", "QuestionAnswering", "MaskedLM")
    assert [gives_rows(f"AutoModelFor{name}") for name in names] == [False, False, True, True, True]


def test_two_classes_have_a_vocabulary_head() -> None:
    names = ("AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForTokenClassification")
    assert [has_vocabulary_head(name) for name in names] == [False, True, True, False]
