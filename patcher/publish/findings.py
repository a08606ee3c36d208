"""What was checked of a model on the Hub, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, UNCHECKED = "passed", "failed", "could not be checked"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `passed` is None where it could not be checked; `detail` says what was found.

    `checkable` is False where nobody can ever check it: a source that is a folder.
    """

    name: str
    passed: bool | None
    detail: str
    checkable: bool = True


@dataclass(frozen=True)
class Checked:
    """A published model at one commit, and the findings about it."""

    repo_id: str
    commit: str
    findings: tuple[Finding, ...]

    json_properties = ("passed", "outcome")

    @property
    def passed(self) -> bool:
        """Whether no finding failed; what could not be checked does not count."""
        return all(one.passed is not False for one in self.findings)

    @property
    def outcome(self) -> str:
        """Passed, failed, or could not be checked: nothing failed, and something that can be checked was not."""
        if not self.passed:
            return FAILED
        return UNCHECKED if any(one.passed is None and one.checkable for one in self.findings) else PASSED


def finding(name: str, wrong: list[str], fine: str) -> Finding:
    """Passed where `wrong` is empty; otherwise the detail names what is in it."""
    return Finding(name, not wrong, f"mismatch: {', '.join(wrong)}" if wrong else fine)


def counted(count: int) -> str:
    """A number of files in words."""
    return f"{count:,} file{'s' * (count != 1)}"
