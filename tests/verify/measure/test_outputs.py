"""The output of any class is told apart text by text: a row for each token, or one for the text."""

from __future__ import annotations

import pytest
import torch
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
)

from patcher.verify.measure.outputs import has_vocabulary_head, rows, shaped, tensors

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


def test_a_class_that_compares_choices_gets_one_choice() -> None:
    inputs = {"input_ids": torch.ones(2, 3)}
    assert shaped(inputs, "AutoModelForMultipleChoice")["input_ids"].shape == (2, 1, 3)
    assert shaped(inputs, "AutoModel")["input_ids"].shape == (2, 3)


def test_two_classes_have_a_vocabulary_head() -> None:
    names = ("AutoModel", "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForTokenClassification")
    assert [has_vocabulary_head(name) for name in names] == [False, True, True, False]
