"""Functions, layers and arguments of torch by their names."""

from __future__ import annotations

import libcst as cst
import pytest

from patcher.codemods.dataflow.package import External
from patcher.codemods.dataflow.steps import argument_of, bounded_layer, function_of_torch, make_extractor
from tests.codemods.dataflow.functions import parsed_call, source


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("torch.sigmoid", "sigmoid"),
        ("torch.nn.functional.tanh", "tanh"),
        ("torch.special.expit", "expit"),
        ("torch.Tensor.mul_", "mul_"),
        ("numpy.tanh", None),
        ("torch.cuda.synchronize", None),
    ],
)
def test_a_function_of_torch_is_known_by_its_full_name(name: str, function: str | None) -> None:
    assert function_of_torch(External(name)) == function


def test_what_is_not_outside_the_package_is_no_function_of_torch() -> None:
    assert function_of_torch(None) is None


def test_only_the_layers_of_torch_are_bounded() -> None:
    assert bounded_layer("torch.nn.Sigmoid") == "sigmoid"
    assert bounded_layer("torch.nn.modules.activation.Tanh") == "tanh"
    assert bounded_layer("torch.nn.ReLU") is bounded_layer("my.Sigmoid") is None


@pytest.mark.parametrize(
    ("call", "argument"),
    [("f(x, 2)", "2"), ("f(other=3, input=x)", "3"), ("f(x, *rest)", None), ("f(x)", None), ("f(x, out=2)", None)],
)
def test_an_argument_is_found_by_keyword_or_position(call: str, argument: str | None) -> None:
    assert source(argument_of(parsed_call(call), "other", 1)) == argument


def test_an_extractor_finds_the_argument_after_it_has_changed() -> None:
    call = parsed_call("torch.mul(2, x)")
    extract = make_extractor(call, call.args[1].value)
    assert source(extract(call.deep_replace(call.args[1].value, cst.Name("y")))) == "y"


def test_an_extractor_finds_the_receiver_of_a_method() -> None:
    call = parsed_call("x.view(2).mul(3)")
    assert isinstance(call.func, cst.Attribute)
    assert source(make_extractor(call, call.func.value)(call)) == "x.view(2)"
