"""The only writer to the Hub: one commit per publication, even if an answer is lost or the user interrupts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import FileDuplicationError, HfHubHTTPError

from patcher.errors import Interrupted, PatcherError, PublishError
from patcher.publish import outcome
from patcher.publish.hub import Hub, RetryPolicy, is_transient, time_limit
from patcher.publish.outcome import COMMITTED, NOTHING, Publication, Steps
from patcher.publish.plan import EQUAL, PublishPlan, without_copies
from patcher.publish.readback import Finding, read_back
from patcher.publish.target import MAIN
from patcher.source.hub_errors import from_publishing, status_of

logger = logging.getLogger(__name__)
Sent = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete


def publish(plan: PublishPlan, *, retry: RetryPolicy = RetryPolicy()) -> Publication:
    """Make the planned commit, confirm that it landed, and read it back.

    Raises PublishError, AccessDenied or HubUnreachable; each says what was done and what was not.
    """
    hub, steps = Hub(retry), Steps()
    with time_limit(retry.timeout):
        try:
            done = _execute(plan, hub, steps)
        except PatcherError:
            raise
        except Exception as error:
            raise outcome.with_steps(from_publishing(error, plan.repo_id), steps) from error
        except BaseException as stop:
            raise outcome.interrupted(plan, hub, steps) from stop
        return replace(done, findings=_read_back(done, hub))


def _read_back(done: Publication, hub: Hub) -> tuple[Finding, ...]:
    repo_id, short = done.plan.repo_id, done.commit[:7]
    logger.info("Reading %s back at %s ...", repo_id, short)
    try:
        return read_back(done.plan, done.commit, hub)
    except PatcherError:
        raise
    except Exception as error:
        raise PublishError(
            f"The commit {short} is on {repo_id}, but could not be read back: "
            f"{from_publishing(error, repo_id).message}",
            f"Run `patcher check {repo_id}@{short}` later.",
        ) from error
    except BaseException as stop:
        raise Interrupted(
            f"Interrupted; the commit {short} is on {repo_id}, but was not read back.",
            f"Run `patcher check {repo_id}@{short}`.",
        ) from stop


def _execute(plan: PublishPlan, hub: Hub, steps: Steps) -> Publication:
    """Create the repository and the branch where they are missing, then the commit, then the tag."""
    if plan.case == EQUAL:
        done = Publication(NOTHING, str(plan.target.head), plan.target.pull_request, plan=plan)
    else:
        steps.parent = _prepare(plan, hub, steps)
        done = _commit(plan, hub, steps.parent)
    steps.commit = done.commit
    if plan.tag_missing:
        _tag(plan, hub, done.commit)
    return done


def _prepare(plan: PublishPlan, hub: Hub, steps: Steps) -> str:
    """Create what is missing and return the parent commit. Raises PublishError where the target has changed."""
    target = plan.target
    if not target.exists:
        private = plan.options.private
        hub.call_with_retry(lambda: hub.api.create_repo(target.repo_id, private=private or None, exist_ok=True))
        steps.done.append(f"{target.repo_id} was made and is empty")
        # Another process may have created it first: it must be as empty as the plan expects.
        if set(hub.files(target.repo_id, MAIN)) - set(target.files) - {".gitattributes"}:
            raise outcome.concurrent_update(plan)
    if target.branch_missing or (not target.exists and target.revision != MAIN):
        hub.call_with_retry(lambda: hub.api.create_branch(target.repo_id, branch=target.revision, exist_ok=True))
        steps.done.append(f"its branch {target.revision} was made")
    head = hub.head(target.repo_id, target.revision)
    # The Hub would notice a moved branch only after the uploads.
    if target.exists and head != target.head:
        raise outcome.concurrent_update(plan)
    return head


def _commit(plan: PublishPlan, hub: Hub, parent: str) -> Publication:
    """Send the commit until it has landed; before each retry, check whether an earlier try landed."""
    attempt = 1
    while True:
        try:
            answer = hub.api.create_commit(
                plan.repo_id,
                _operations(plan),
                commit_message=plan.message,
                commit_description=plan.description,
                revision=plan.target.revision,
                create_pr=plan.opens_pr,
                parent_commit=parent,
            )
            number = int(str(answer.pr_num)) if plan.opens_pr else plan.target.pull_request
            return Publication(COMMITTED, answer.oid, number, plan=plan)
        except Exception as error:
            reason = _refused_copy(error, plan)
            if reason is not None and any(operation.op == "copy" for operation in plan.operations):
                plan = without_copies(plan, reason)
                logger.info("The Hub would not copy the weights (%s); uploading them instead.", reason)
                continue
            if not is_transient(error) and status_of(error) != 412:  # a plain refusal: it has not landed
                raise
            found = outcome.find_commit(plan, hub, parent, error)
            if found is not None:
                return found
            # A late first commit can't lead to a second one: parent_commit forbids it, except for a pull request.
            if plan.opens_pr or not hub.wait_for_retry(error, attempt):
                raise
            attempt += 1


def _operations(plan: PublishPlan) -> list[Sent]:
    """The client's operations, created for each try because the client changes them."""
    source = plan.model.source
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
    if not error.response.request.url.path.startswith(f"/api/models/{plan.model.source.repo_id}/"):
        return None
    status = error.response.status_code
    return "this account may not copy from the source" if status in {401, 403} else f"it answered {status}"


def _tag(plan: PublishPlan, hub: Hub, commit: str) -> None:
    tag = str(plan.options.tag)

    def make() -> None:
        try:
            hub.api.create_tag(plan.repo_id, tag=tag, revision=commit)
        except Exception:
            # Only the answer may have been lost, of this try or of an earlier one.
            refs = hub.api.list_repo_refs(plan.repo_id)
            if not any(found.name == tag and found.target_commit == commit for found in refs.tags):
                raise

    try:
        hub.call_with_retry(make)
    except Exception as error:
        raise PublishError(
            f"The commit {commit[:7]} is on {plan.repo_id}, but the tag {tag!r} could not be made.",
            "Run the same command again: it makes only the tag.",
        ) from error
