"""The only writer to the Hub: one commit per publication, even if an answer is lost or the user interrupts.

Where an answer was lost, it finds out whether the commit landed.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, constants
from huggingface_hub.errors import FileDuplicationError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo

from patcher.codec import document, json_field
from patcher.errors import Interrupted, PatcherError, PublishError
from patcher.publish.findings import Finding
from patcher.publish.hub import Hub
from patcher.publish.plan import EQUAL, PublishPlan, check_consent, without_copies
from patcher.publish.read_back import read_back
from patcher.publish.target import MAIN, NOT_PUBLISHED, open_pull_request
from patcher.source.hub_errors import explained, status_of
from patcher.source.request_limit import one_try, time_limit
from patcher.source.retry import RetryPolicy, is_transient

logger = logging.getLogger(__name__)
Sent = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete
COMMITTED, LANDED, NOTHING = "committed", "landed", "nothing to do"
# A commit whose answer was lost may still be in progress: check this often, this many seconds apart.
_CHECKS, _INTERVAL = 3, 1.0
# With these the Hub says that it made no commit. After anything else, a 200 that can't be read included, it is asked.
_REFUSALS = frozenset({400, 401, 403, 404, 413, 422})


@dataclass(frozen=True)
class Publication:
    """What is on the Hub now. `case`: `committed`, `landed` (its reply was lost) or `nothing to do`."""

    case: str
    commit: str
    pull_request: int | None
    _: KW_ONLY
    findings: tuple[Finding, ...] = ()
    plan: PublishPlan = json_field(write=document)

    json_properties = ("passed", "url", "plan.options.tag")

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
        """Lines of Python that load the model, pinned to this commit."""
        item, model = self.plan.item, self.plan.item.model
        if item.fingerprint is not None:
            graph = next((name for name in ("model.onnx", "model.xml") if item.file(name)), "model.onnx")
            return f'hf_hub_download("{self.plan.repo_id}", "{graph}", revision="{self.commit}")'
        pinned = f'"{self.plan.repo_id}", revision="{self.commit}", trust_remote_code=True'
        loader = model.loaded_by if model else "SparseEncoder"
        if model is None or loader != model.auto_class:
            return f"from sentence_transformers import {loader}\nmodel = {loader}({pinned})"
        return (
            f"from transformers import {loader}, AutoTokenizer\n"
            f"tokenizer = AutoTokenizer.from_pretrained({pinned})\n"
            f"model = {loader}.from_pretrained({pinned})"
        )


@dataclass
class Steps:
    """What has been done so far, for errors and interruptions.

    `parent` is set once a commit may be sent; `unknown` is true while nobody can tell whether it landed.
    """

    done: list[str] = field(default_factory=list)
    parent: str = ""
    commit: str | None = None
    unknown: bool = False


def publish(plan: PublishPlan, *, retry: RetryPolicy = RetryPolicy(), full_read_back: bool = False) -> Publication:
    """Make the planned commit, confirm that it landed, and read it back; `full_read_back` downloads the small files.

    Raises PublishError, AccessDenied or HubUnreachable; each says what was done and what was not.
    """
    check_consent(plan)
    hub, steps = Hub(retry), Steps()
    with time_limit(retry.timeout):
        try:
            with explained(plan.repo_id):
                done = _execute(plan, hub, steps)
        except PatcherError as error:
            raise with_steps(error, steps) from error.__cause__
        except BaseException as stop:
            raise _interrupted(plan, hub, steps) from stop
        return replace(done, findings=_read_back(done, hub, full=full_read_back))


def with_steps(error: PatcherError, steps: Steps) -> PatcherError:
    """The same error, with what was done before it."""
    if not steps.done and steps.commit is None:
        return error
    landed = f"the commit {steps.commit[:7]} is there" if steps.commit else "nothing committed"
    said = (*steps.done, *(() if steps.unknown else (landed,)))
    return type(error)(f"{error.message.rstrip('.')} ({'; '.join(said)}).", error.hint)


def _read_back(done: Publication, hub: Hub, *, full: bool) -> tuple[Finding, ...]:
    repo_id, short = done.plan.repo_id, done.commit[:7]
    logger.info("Reading %s back at %s ...", repo_id, short)
    try:
        with explained(repo_id):
            revision = done.plan.target.revision if done.pull_request is None else f"refs/pr/{done.pull_request}"
            return read_back(done.plan, done.commit, revision, hub, full=full)
    except PatcherError as error:
        raise PublishError(
            f"The commit {short} is on {repo_id}, but could not be read back: {error.message}",
            f"{_read_again(done)} later.",
        ) from error.__cause__
    except BaseException as stop:
        what = f"Interrupted; the commit {short} is on {repo_id}, but was not read back."
        raise Interrupted(what, f"{_read_again(done)}.") from stop


def _read_again(done: Publication) -> str:
    """What reads a commit back; without a record there is nothing to check it against."""
    if done.plan.options.repairs_only:
        return "Run the same command again"
    return f"Run `patcher check {done.plan.repo_id}@{done.commit[:7]}`"


def _execute(plan: PublishPlan, hub: Hub, steps: Steps) -> Publication:
    """Create the repository and the branch where they are missing, then the commit, then the tag."""
    if plan.case == EQUAL:
        done = Publication(NOTHING, str(plan.target.head), plan.target.pull_request, plan=plan)
    else:
        steps.parent = _prepare(plan, hub, steps)
        done = _commit(plan, hub, steps)
    steps.commit = done.commit
    if plan.tag_missing:
        _tag(plan, hub, done.commit)
    return done


def _prepare(plan: PublishPlan, hub: Hub, steps: Steps) -> str:
    """Create what is missing and return the parent commit. Raises PublishError where the target has changed."""
    target = plan.target
    if not target.exists:
        private = plan.options.private or None
        there: list[ModelInfo] = []

        def is_there() -> bool:
            with suppress(RepositoryNotFoundError):
                there.append(hub.api.model_info(target.repo_id))
            return bool(there)

        make(hub, lambda: hub.api.create_repo(target.repo_id, private=private, exist_ok=True), is_there)
        steps.done.append(f"{target.repo_id} was created and is empty")
        # Another process may have created it first: it must be as empty as the plan expects.
        if {one.rfilename for one in there[-1].siblings or ()} - NOT_PUBLISHED:
            raise _concurrent_update(plan)
        if target.revision == MAIN:
            return str(there[-1].sha)
    if target.branch_missing or (not target.exists and target.revision != MAIN):
        make(
            hub,
            lambda: hub.api.create_branch(target.repo_id, branch=target.revision, exist_ok=True),
            lambda: any(one.name == target.revision for one in hub.api.list_repo_refs(target.repo_id).branches),
        )
        steps.done.append(f"its branch {target.revision} was made")
    head = hub.head(target.repo_id, target.revision)
    # The Hub would notice a moved branch only after the uploads.
    if target.exists and head != target.head:
        raise _concurrent_update(plan)
    return head


def make(hub: Hub, create: Callable[[], object], is_there: Callable[[], bool]) -> None:
    """Create something and read it back, whatever the answer was: of this try or of an earlier one it may be lost.

    Raises what `create` raised, or PublishError, where it is not there.
    """

    def attempt() -> None:
        failure: Exception | None = None
        try:
            create()
        except Exception as error:
            failure = error
        if not is_there():
            raise failure or PublishError("The Hub reported success, but nothing changed.", "Try again later.")

    hub.call_with_retry(attempt)


def _commit(plan: PublishPlan, hub: Hub, steps: Steps) -> Publication:
    """Send the commit until it has landed; before each retry, check whether an earlier try landed."""
    attempt = 1
    while True:
        try:
            with one_try():
                answer = hub.api.create_commit(
                    plan.repo_id,
                    _operations(plan),
                    commit_message=plan.message,
                    commit_description=plan.description,
                    revision=plan.target.revision,
                    create_pr=plan.opens_pr,
                    parent_commit=steps.parent,
                )
            number = int(str(answer.pr_num)) if plan.opens_pr else plan.target.pull_request
            return Publication(COMMITTED, _commit_id(answer.oid), number, plan=plan)
        except Exception as error:
            reason = _refused_copy(error, plan)
            if reason is not None and any(operation.op == "copy" for operation in plan.operations):
                plan = without_copies(plan, reason)
                logger.info("The Hub refused to copy the weights (%s); uploading them instead.", reason)
                continue
            if status_of(error) in _REFUSALS:
                raise
            found = _find_commit(plan, hub, steps, error)
            if found is not None:
                return found
            # A late first commit can't lead to a second one: parent_commit forbids it, except for a pull request.
            if plan.opens_pr or not hub.retry.wait(error, attempt):
                raise
            attempt += 1


def _commit_id(answer: object) -> str:
    """The id in the answer to a commit. Raises ValueError where it is none."""
    if not isinstance(answer, str) or not re.fullmatch(r"[0-9a-f]{40}", answer):
        raise ValueError("the answer names no commit")
    return answer


def _operations(plan: PublishPlan) -> list[Sent]:
    """The client's operations, created for each try because the client changes them."""
    source = plan.item.source
    content = {file.path: file.content for file in plan.files if file.content is not None}
    kinds: dict[str, Callable[[str], Sent]] = {
        "copy": lambda path: CommitOperationCopy(path, path, source.revision, source.repo_id, "model"),
        "upload": lambda path: CommitOperationAdd(path, content[path]),
        "delete": lambda path: CommitOperationDelete(path, is_folder=False),
    }
    return [kinds[operation.op](operation.path) for operation in plan.operations]


def _refused_copy(error: Exception, plan: PublishPlan) -> str | None:
    """Why the Hub refused to copy a file, in one line; None where something else failed."""
    if isinstance(error, FileDuplicationError):
        return str(error).strip().rpartition(": ")[2] or "it gave no reason"
    if isinstance(error, ValueError) and "xet hash" in str(error):
        return "a file has no Xet hash at the source"
    if not isinstance(error, HfHubHTTPError) or error.response is None or is_transient(error):
        return None
    if not error.response.request.url.path.startswith(f"/api/models/{plan.item.source.repo_id}/"):
        return None
    status = error.response.status_code
    return "this account is not allowed to copy from the source" if status in {401, 403} else f"it answered {status}"


def _tag(plan: PublishPlan, hub: Hub, commit: str) -> None:
    tag = str(plan.options.tag)

    def is_there() -> bool:
        refs = hub.api.list_repo_refs(plan.repo_id)
        return any(found.name == tag and found.target_commit == commit for found in refs.tags)

    try:
        make(hub, lambda: hub.api.create_tag(plan.repo_id, tag=tag, revision=commit), is_there)
    except Exception as error:
        raise PublishError(
            f"The tag {tag!r} could not be created on {plan.repo_id}.",
            "Run the same command again: it creates only the tag.",
        ) from error


def _find_commit(plan: PublishPlan, hub: Hub, steps: Steps, error: Exception) -> Publication | None:
    """The commit, if it landed although its answer was lost. Raises PublishError after a concurrent update."""
    stale, steps.unknown = status_of(error) == 412, True
    for turn in range(1 if stale or status_of(error) == 429 else _CHECKS):
        if turn:
            time.sleep(_INTERVAL * min(1.0, hub.retry.first_delay))
        try:
            found = _find_landed_commit(plan, hub, steps.parent)
        except PatcherError:
            raise
        except Exception as silence:
            raise PublishError(
                f"The Hub did not answer for {plan.repo_id}, and can't be asked whether the commit landed.",
                "Run the same command again: it checks first, and never commits twice.",
            ) from silence
        if found is not None:
            return found
    steps.unknown = False
    if stale:
        raise _concurrent_update(plan) from error
    return None


def _find_landed_commit(plan: PublishPlan, hub: Hub, parent: str) -> Publication | None:
    """The child of `parent` on the branch, or the pull request of this account, with exactly the planned content.

    None where there is none. Raises PublishError for a child of `parent` with other content.
    """
    if plan.opens_pr:
        planned = partial(_is_as_planned, plan)
        number = open_pull_request(hub, plan.repo_id, plan.account.name, plan.target.revision, planned)
        head = hub.head(plan.repo_id, f"refs/pr/{number}") if number else ""
        return Publication(LANDED, head, number, plan=plan) if number else None
    if hub.head(plan.repo_id, plan.target.revision) == parent:
        return None
    history = hub.call_with_retry(lambda: hub.api.list_repo_commits(plan.repo_id, revision=plan.target.revision))
    ids = [commit.commit_id for commit in history]
    child = ids[ids.index(parent) - 1] if parent in ids[1:] else None
    if child is None or not _is_as_planned(plan, hub, plan.repo_id, child):
        raise _concurrent_update(plan)
    return Publication(LANDED, child, plan.target.pull_request, plan=plan)


def _is_as_planned(plan: PublishPlan, hub: Hub, repo_id: str, revision: str) -> bool:
    files = hub.files(repo_id, revision)
    deleted = (operation.path for operation in plan.operations if operation.op == "delete")
    return all(file.equals(files.get(file.path)) for file in plan.wanted) and not any(path in files for path in deleted)


def _concurrent_update(plan: PublishPlan) -> PublishError:
    """The error for a target that changed between plan and commit."""
    return PublishError(
        f"{plan.repo_id} was changed by somebody else meanwhile; nothing was written to it.",
        "Run the same command again to see the plan against what is there now.",
    )


def _interrupted(plan: PublishPlan, hub: Hub, steps: Steps) -> Interrupted:
    """What to tell a user who pressed Ctrl-C: whether there is a commit."""
    again, commit = "Run the same command again; it continues from there.", steps.commit
    if commit is None and steps.parent:
        once = replace(hub, retry=replace(hub.retry, tries=1))
        try:
            found = _find_landed_commit(plan, once, steps.parent)
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
