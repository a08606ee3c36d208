"""Models call what transformers 5 wants, and what it no longer has is refused by name."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, NotNeeded, Outcome, Refused, removed_methods
from tests.codemods.tools import HOME, assert_only_intended, package_of

MODEL = "class Head(PreTrainedModel):\n    def __init__(self, config):\n        super().__init__(config)\n"
POST = "        self.post_init()\n"


def outcome_of(code: str) -> Outcome:
    return removed_methods(package_of({HOME: f"from transformers import PreTrainedModel\n{code}"}))[HOME]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MODEL + "        self.init_weights()  # kept\n", MODEL + "        self.post_init()  # kept\n"),
        (MODEL, MODEL + POST),
        (MODEL + "\n    def f(self):\n        pass\n", MODEL + POST + "\n    def f(self):\n        pass\n"),
        (
            MODEL + POST + "    def tie_weights(self):\n        pass\n",
            MODEL + POST + "    def tie_weights(self, **kwargs):\n        pass\n",
        ),
        (
            MODEL + "\n\nclass B(Head):\n    def __init__(self, config):\n        super().__init__(config)\n",
            MODEL + POST + "\n\nclass B(Head):\n    def __init__(self, config):\n        super().__init__(config)\n",
        ),
    ],
)
def test_a_model_gets_the_calls_that_5_wants(before: str, after: str) -> None:
    head = "from transformers import PreTrainedModel\n"
    found = outcome_of(before)
    assert isinstance(found, Applied)
    assert found.code.decode() == head + after
    assert_only_intended(head + before, head + after, found.spans, HOME)
    assert isinstance(outcome_of(after), NotNeeded)


@pytest.mark.parametrize(
    "code",
    [
        MODEL + POST,
        MODEL + POST + "    def tie_weights(self, **kwargs):\n        pass\n",
        MODEL + POST + "    def tie_weights(self, missing_keys=None, recompute_mapping=True):\n        pass\n",
        "class Layer(nn.Module):\n    def __init__(self):\n        self.init_weights()\n",
        MODEL + POST + "        self.get_head_mask(1)\n    def get_head_mask(self, x):\n        return x\n",
    ],
)
def test_what_5_understands_needs_nothing(code: str) -> None:
    assert isinstance(outcome_of(code), NotNeeded)


@pytest.mark.parametrize(
    "name", ["get_head_mask", "get_extended_attention_mask", "invert_attention_mask", "_tie_or_clone_weights"]
)
@pytest.mark.parametrize("owner", ["self", "self.model"])
def test_a_method_that_is_gone_is_refused_with_its_line(name: str, owner: str) -> None:
    found = outcome_of(MODEL + POST + f"    def forward(self, mask):\n        return {owner}.{name}(mask)\n")
    assert isinstance(found, Refused) and found.name == "removed-method"
    assert f"`{name}`" in found.reason and "line 7" in found.reason


@pytest.mark.parametrize(
    "code",
    [
        "def masks(model, mask):\n    return model.get_extended_attention_mask(mask, mask.shape)\n",
        "class Layer(nn.Module):\n    def f(self, m):\n        return getattr(self, 'get_head_mask', str)(m)\n",
        "def masks(model):\n    return hasattr(model, 'get_head_mask')\n",
    ],
)
def test_code_that_would_silently_go_without_it_is_refused_as_well(code: str) -> None:
    found = outcome_of(MODEL + POST + code)
    assert isinstance(found, Refused) and found.name == "removed-method"
