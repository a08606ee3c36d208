"""Publishes a verified folder: a plan, one commit of kilobytes, and a check of what arrived."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from huggingface_hub import constants

from patcher.codec import document, json_field
from patcher.errors import Interrupted, PatcherError, PublishError
from patcher.patching.record import PatchedModel
from patcher.publish.check import Checked, check_model
from patcher.publish.commit import execute
from patcher.publish.hub import TIMEOUT, Hub, RetryPolicy, time_limit
from patcher.publish.outcome import COMMITTED, LANDED, NOTHING
from patcher.publish.plan import PublishOptions, PublishPlan
from patcher.publish.plan import make_plan as _make_plan
from patcher.publish.readback import Finding, read_back
from patcher.source.hub_errors import from_publishing
from patcher.verify.report import Report

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """What is on the Hub now. `case`: `committed`, `landed` (its answer was lost) or `nothing to do`."""

    case: str
    commit: str
    pull_request: int | None
    findings: tuple[Finding, ...]
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


def plan_publication(
    model: PatchedModel,
    report: Report | None,
    repo_id: str,
    *,
    options: PublishOptions = PublishOptions(),
    retry: RetryPolicy = RetryPolicy(),
) -> PublishPlan:
    """Decide what one commit to `repo_id` would contain. Writes nothing, locally or on the Hub.

    Raises UsageError, PublishError, AccessDenied or HubUnreachable where something prevents it.
    """
    with time_limit(retry.timeout):
        return _make_plan(model, report, repo_id, options, Hub(retry))


def publish(plan: PublishPlan, *, retry: RetryPolicy = RetryPolicy()) -> Publication:
    """Make the planned commit, confirm that it landed, and read it back.

    Raises PublishError, AccessDenied or HubUnreachable; each says what was done and what was not.
    """
    hub = Hub(retry)
    with time_limit(retry.timeout):
        done = execute(plan, hub)
        logger.info("Reading %s back at %s ...", plan.repo_id, done.commit[:7])
        try:
            findings = read_back(done.plan, done.commit, hub)
        except PatcherError:
            raise
        except Exception as error:
            raise PublishError(
                f"The commit {done.commit[:7]} is on {plan.repo_id}, but could not be read back: "
                f"{from_publishing(error, plan.repo_id).message}",
                f"Run `patcher check {plan.repo_id}@{done.commit[:7]}` later.",
            ) from error
        except BaseException as stop:
            raise Interrupted(
                f"Interrupted; the commit {done.commit[:7]} is on {plan.repo_id}, but was not read back.",
                f"Run `patcher check {plan.repo_id}@{done.commit[:7]}`.",
            ) from stop
        return Publication(done.case, done.commit, done.pull_request, findings, done.plan)


def check(repo_id: str, revision: str | None = None, *, retry: RetryPolicy = RetryPolicy()) -> Checked:
    """Check a published model against its record and its source. Runs no model code and downloads no weights."""
    with time_limit(retry.timeout):
        return check_model(repo_id, revision)


__all__ = [
    "COMMITTED",
    "LANDED",
    "NOTHING",
    "TIMEOUT",
    "Checked",
    "Finding",
    "Publication",
    "PublishOptions",
    "PublishPlan",
    "RetryPolicy",
    "check",
    "plan_publication",
    "publish",
]
