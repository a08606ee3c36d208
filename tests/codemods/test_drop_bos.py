"""The synthetic first row of the logits becomes zero, whatever its form; what is not understood is refused by name."""

from __future__ import annotations

import re

import pytest

from patcher.codemods import Applied, NotNeeded, Refused, Target, drop_bos
from tests.codemods.tools import HOME, IMPORTS, assert_only_intended, package_of

ZEROS, WRITE = "row = torch.zeros_like(x[:, :1])", "row[:, :, self.config.bos_token_id] = 1.0"
JOIN = "x = torch.cat([row, x[:, :-1]], dim=1)"
FORMS = [
    (ZEROS, WRITE, JOIN),
    ("row = x.new_zeros(x.size(0), 1, x.size(2))", "row[..., 0, 3] = 1", JOIN),
    ("row = torch.zeros_like(x)[:, :1]", WRITE, "x = torch.concat((row, x[:, :-1]), -2)"),
    (
        ZEROS,
        "bos = self.config.bos_token_id",
        "row[:, 0, bos] = float(2)",
        "return torch.cat([row, x[:, :-1]], axis=1)",
    ),
    ("first = x[:, :1]", ZEROS, "if self.training:\n            row[..., 3] = 1.0", "last = x[:, :-1]", JOIN),
    (ZEROS, WRITE, JOIN, "x[:, :, 5] = -1e4"),
]
REFUSED = [
    ((ZEROS, WRITE, "x = torch.cat([row, x[:, :-1]], dim=-1)"), WRITE),
    ((ZEROS, WRITE, "x = torch.cat([x[:, 1:], row], dim=1)"), WRITE),
    (("row = torch.ones_like(x[:, :1])", WRITE, JOIN), "torch.ones_like"),
    ((ZEROS, "row[:, :, 3] = self.head.bias[3]", JOIN), "self.head.bias[3]"),
    ((ZEROS, "row[:, :, 3] += 1.0", JOIN), "+= 1.0"),
    ((ZEROS, "row.scatter_(2, self.bos, 1.0)", JOIN), "scatter_"),
    ((ZEROS, "row[:, :, 3].fill_(1.0)", JOIN), "fill_"),
    ((ZEROS, WRITE, "print(row)", JOIN), "print(row)"),
    ((ZEROS, JOIN, "x[:, 0, 3] = 1.0"), "x[:, 0, 3] = 1.0"),
    (("x = x.roll(1, 1)", "x[:, 0, 3] = 1.0"), "x[:, 0, 3] = 1.0"),
    (("x = F.pad(x[:, :-1], (0, 0, 1, 0))",), "F.pad"),
]


def head(*lines: str) -> str:
    body = "".join(f"        {line}\n" for line in ("x = self.head(x)", *lines, "return x"))
    init = "class Head(nn.Module):\n    def __init__(self):\n        self.head = nn.Linear(4, 4)\n"
    return f"{IMPORTS}\n\n{init}\n    def forward(self, x):\n{body}"


@pytest.mark.parametrize("lines", FORMS)
def test_the_constant_becomes_zero_and_a_second_run_changes_nothing(lines: tuple[str, ...]) -> None:
    before = head(*lines)
    (found,) = drop_bos(package_of({HOME: before}), Target("Head", HOME)).values()
    assert isinstance(found, Applied), found
    after = found.code.decode()
    assert_only_intended(before, after, found.spans, HOME)
    (written,) = (line.split(" = ")[0] for line in after.splitlines() if line.endswith("] = 0.0"))
    value = next(line for line in before.splitlines() if line.startswith(f"{written} = ")).rpartition(" = ")[2]
    comment = f" *# splade-patcher: {re.escape(value)} here made this token active in every SPLADE vector.\n"
    assert re.sub(comment, "", after).replace(f"{written} = 0.0", f"{written} = {value}") == before
    (again,) = drop_bos(package_of({HOME: after}), Target("Head", HOME)).values()
    assert isinstance(again, NotNeeded)


@pytest.mark.parametrize(("lines", "quoted"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_what_is_not_understood_is_refused_with_its_lines(lines: tuple[str, ...], quoted: str) -> None:
    (found,) = drop_bos(package_of({HOME: head(*lines)}), Target("Head", HOME)).values()
    assert isinstance(found, Refused) and found.name == "bos-row"
    assert "line 1" in found.reason and quoted in found.reason


def test_logits_without_a_row_in_front_are_refused_by_another_name() -> None:
    (found,) = drop_bos(package_of({HOME: head()}), Target("Head", HOME)).values()
    assert isinstance(found, Refused) and found.name == "no-bos-row"


def test_a_row_in_another_file_is_found_and_one_that_another_class_shares_is_refused() -> None:
    shift = f"{IMPORTS}\n\ndef shift(x):\n    {ZEROS}\n    row[:, :, 3] = 1.0\n    {JOIN}\n    return x\n"
    main = f"from .shifts import shift\n{head('x = shift(x)')}"
    other = head("x = shift(x)").partition("\n\n")[2].replace("Head", "Other")
    package = package_of({HOME: main + other, "shifts.py": shift})
    found = drop_bos(package, Target("Head", HOME))
    assert list(found) == ["shifts.py"] and isinstance(found["shifts.py"], Applied)
    (shared,) = drop_bos(package, Target("Head", HOME), [Target("Other", HOME)]).values()
    assert isinstance(shared, Refused) and "Other has the row of Head as well" in shared.reason
