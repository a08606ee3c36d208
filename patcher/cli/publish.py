"""`patcher publish`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from patcher.cli import hints, tables
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console
from patcher.constants import HUB_TIMEOUT
from patcher.errors import Cancelled, PublishError


@app.command(
    epilog=examples(
        "publish norbert4-splade me/norbert4-splade --dry-run",
        "publish norbert4-splade me/norbert4-splade --private --tag v1",
        "publish repaired ltg/norbert4-base --create-pr --repairs-only",
    )
)
def publish(
    folder: opt.FolderArgument,
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="namespace/name.", show_default=False)],
    *,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Commit to a pull request.")] = False,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="Branch to commit to.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Tag to put on the commit.")] = None,
    commit_message: Annotated[
        str | None, typer.Option("--commit-message", "-m", metavar="TEXT", help="First line of the commit message.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be committed; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")] = False,
    upload_weights: Annotated[
        bool, typer.Option("--upload-weights", help="Upload the weights; by default the Hub copies them.")
    ] = False,
    unverified: Annotated[bool, typer.Option("--unverified", help="Publish a folder that was never verified.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what somebody else published there.")] = False,
    replace_card: Annotated[bool, typer.Option("--replace-card", help="Replace a card edited on the Hub.")] = False,
    repairs_only: Annotated[
        bool, typer.Option("--repairs-only", help="Send the repaired code alone to the source; needs --create-pr.")
    ] = False,
    from_gated: Annotated[
        bool, typer.Option("--from-gated", help="Make public what a gated or private source has.")
    ] = False,
    read_back: Annotated[
        Literal["hashes", "full"],
        typer.Option(
            "--read-back",
            metavar="[hashes|full]",
            help="How to check the commit: hashes, or full, which downloads the small files.",
        ),
    ] = "hashes",
    rehash: opt.Rehash = False,
    timeout: opt.HubTimeout = HUB_TIMEOUT,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Publish a folder in one commit.

    The Hub copies the weights from the source; the rest is uploaded.
    """
    from patcher import publish as publishing
    from patcher.hashing import forget
    from patcher.verify.report import load_report

    console = Console(as_json=as_json, quiet=quiet).listen()
    if rehash:
        forget()
    retry = publishing.RetryPolicy(timeout)
    options = publishing.PublishOptions(
        private=private,
        create_pr=create_pr,
        revision=revision,
        tag=tag,
        commit_message=commit_message,
        upload_weights=upload_weights,
        force=force,
        replace_card=replace_card,
        unverified=unverified,
        repairs_only=repairs_only,
        from_gated=from_gated,
    )
    item, report = publishing.load(folder), load_report(folder)
    planned = publishing.plan_publication(item, report, repo_id, options=options, retry=retry)
    line = tables.plan_line(planned)
    if dry_run:
        console.result(planned, line, lambda: tables.publish_plan(planned))
        console.hint(hints.after_dry_run(planned, console.words))
        return
    publishing.check_consent(planned)
    if (planned.operations or planned.tag_missing) and not yes:
        if not console.as_json and not console.quiet:
            console.show(tables.publish_plan(planned))
        agreed = console.confirm("Publish this?")
        if agreed is False:
            raise Cancelled("Cancelled; nothing was written.", "")
        if agreed is None:
            what = "Publishing was not confirmed; nothing was written."
            raise PublishError(what, "Add --yes, or --dry-run to preview.")
    console.talk(line)
    done = publishing.publish(planned, retry=retry, full_read_back=read_back == "full")
    console.result(done, done.url, lambda: tables.publication(done))
    console.hint(hints.after_publish(done))
    raise typer.Exit(0 if done.passed else 1)
