"""Finds out whether a commit landed although its answer was lost, and what the user has to know."""

from __future__ import annotations

import time
from dataclasses import KW_ONLY, dataclass, field, replace

from huggingface_hub import constants

from patcher.codec import document, json_field
from patcher.errors import Interrupted, PatcherError, PublishError
from patcher.publish.hub import Hub
from patcher.publish.plan import PublishPlan
from patcher.publish.readback import Finding
from patcher.publish.target import open_pull_request
from patcher.source.hub_errors import status_of

COMMITTED, LANDED, NOTHING = "committed", "landed", "nothing to do"
# A commit whose answer was lost may still be in progress: check this often, this many seconds apart.
_CHECKS, _INTERVAL = 3, 1.0


@dataclass(frozen=True)
class Publication:
    """What is on the Hub now. `case`: `committed`, `landed` (its answer was lost) or `nothing to do`."""

    case: str
    commit: str
    pull_request: int | None
    _: KW_ONLY
    findings: tuple[Finding, ...] = ()
    plan: PublishPlan = json_field(write=document)

    json_properties = ("passed", "url", "tag")

    @property
    def url(self) -> str:
        """The page of the model, or of the pull request."""
        page = f"{constants.ENDPOINT}/{self.plan.repo_id}"
        return page if self.pull_request is None else f"{page}/discussions/{self.pull_request}"

    @property
    def passed(self) -> bool:
        """Whether no finding failed."""
        return all(finding.passed is not False for finding in self.findings)

    @property
    def usage(self) -> str:
        """Three lines of Python that load the model, pinned to this commit."""
        pinned = f'"{self.plan.repo_id}", revision="{self.commit}", trust_remote_code=True'
        return (
            "from transformers import AutoModelForMaskedLM, AutoTokenizer\n"
            f"tokenizer = AutoTokenizer.from_pretrained({pinned})\n"
            f"model = AutoModelForMaskedLM.from_pretrained({pinned})"
        )

    @property
    def tag(self) -> str | None:
        """The tag on the commit."""
        return self.plan.tag


@dataclass
class Steps:
    """What has been done so far, for errors and interruptions. `parent` is set once a commit may be sent."""

    done: list[str] = field(default_factory=list)
    parent: str | None = None
    commit: str | None = None


def find_commit(plan: PublishPlan, hub: Hub, parent: str, error: Exception) -> Publication | None:
    """The commit, if it landed although its answer was lost. Raises PublishError after a concurrent update."""
    stale = status_of(error) == 412
    for turn in range(1 if stale or status_of(error) == 429 else _CHECKS):
        if turn:
            time.sleep(_INTERVAL * min(1.0, hub.retry.first_delay))
        try:
            found = find_landed_commit(plan, hub, parent)
        except PatcherError:
            raise
        except Exception as silence:
            raise PublishError(
                f"The Hub did not answer for {plan.repo_id}, and can't be asked whether the commit landed.",
                "Run the same command again: it checks first, and never commits twice.",
            ) from silence
        if found is not None:
            return found
    if stale:
        raise concurrent_update(plan) from error
    return None


def find_landed_commit(plan: PublishPlan, hub: Hub, parent: str) -> Publication | None:
    """The child of `parent` on the branch, or the pull request of this account, with exactly the planned content.

    None where there is none. Raises PublishError for a child of `parent` with other content.
    """
    if plan.opens_pr:
        number = open_pull_request(hub, plan.repo_id, plan.account.name, plan.target.revision)
        head = hub.head(plan.repo_id, f"refs/pr/{number}") if number else ""
        return Publication(LANDED, head, number, plan=plan) if number and _is_as_planned(plan, hub, head) else None
    if hub.head(plan.repo_id, plan.target.revision) == parent:
        return None
    history = hub.call_with_retry(lambda: hub.api.list_repo_commits(plan.repo_id, revision=plan.target.revision))
    ids = [commit.commit_id for commit in history]
    child = ids[ids.index(parent) - 1] if parent in ids[1:] else None
    if child is None or not _is_as_planned(plan, hub, child):
        raise concurrent_update(plan)
    return Publication(LANDED, child, plan.target.pull_request, plan=plan)


def _is_as_planned(plan: PublishPlan, hub: Hub, commit: str) -> bool:
    files = hub.files(plan.repo_id, commit)
    deleted = (operation.path for operation in plan.operations if operation.op == "delete")
    return all(file.equals(files.get(file.path)) for file in plan.wanted) and not any(path in files for path in deleted)


def concurrent_update(plan: PublishPlan) -> PublishError:
    """The error for a target that changed between plan and commit."""
    return PublishError(
        f"{plan.repo_id} was changed by somebody else meanwhile; nothing was written to it.",
        "Run the same command again to see the plan against what is there now.",
    )


def with_steps(error: PatcherError, steps: Steps) -> PatcherError:
    """The same error, with what was done before it."""
    if not steps.done and steps.commit is None:
        return error
    done = "; ".join([*steps.done, f"the commit {steps.commit[:7]} is there" if steps.commit else "nothing committed"])
    return type(error)(f"{error.message.rstrip('.')} ({done}).", error.hint)


def interrupted(plan: PublishPlan, hub: Hub, steps: Steps) -> Interrupted:
    """What to tell a user who pressed Ctrl-C: whether there is a commit."""
    again, commit = "Run the same command again; it continues from there.", steps.commit
    if commit is None and steps.parent is not None:
        once = replace(hub, retry=replace(hub.retry, tries=1))
        try:
            found = find_landed_commit(plan, once, steps.parent)
        except Exception:
            return Interrupted(
                f"Interrupted while the commit to {plan.repo_id} was in progress; whether it landed is not known.",
                "Run the same command again: it checks first, and never commits twice.",
            )
        commit = found.commit if found else None
    if commit is not None:
        return Interrupted(f"Interrupted, but the commit {commit[:7]} is on {plan.repo_id} already.", again)
    made = f" ({'; '.join(steps.done)})" if steps.done else ""
    return Interrupted(f"Interrupted; nothing was committed to {plan.repo_id}{made}.", again)
