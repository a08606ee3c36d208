"""The repairs alone, as a pull request to the repository that the model was made from: its code and nothing else."""

from __future__ import annotations

from patcher.constants import REPAIRS
from patcher.errors import PublishError, UsageError, see
from patcher.patching.record import PatchedModel
from patcher.planning.options import Options
from patcher.publish.operations import PublishedFile, published_file
from patcher.publish.publishable import Publishable
from patcher.publish.target import Target


def check_repairs(item: Publishable, repo_id: str, *, create_pr: bool) -> PatchedModel:
    """Refuse anything but a pull request with the repairs to the source itself. Raises UsageError or PublishError."""
    model, source = item.model, item.source.repo_id
    if model is None:
        raise UsageError(f"{item.folder} is not a repaired folder.", "Make one with `patcher repair`.")
    if not create_pr:
        raise UsageError("--repairs-only works only as a pull request.", "Add --create-pr.")
    if source is None or repo_id.lower() != source.lower():
        raise UsageError(
            f"{model.folder} was made from {source or 'a folder'}, not from {repo_id}.",
            f"Use {source} as REPO_ID." if source else "Patch a model from the Hub, then publish that folder.",
        )
    applied = Options.choose(result.name for result in model.codemods if result.status == "applied").codemods
    others = [name for name in applied if name not in REPAIRS]
    if model.soft_cap is not None or others:
        raise PublishError(
            f"{model.folder} has more than the repairs ({', '.join(others) or 'soft_cap'}); nothing was written.",
            f"Make a folder with them alone: `patcher patch {source} --codemod repairs --out DIR`."
            + see("repairs-only"),
        )
    if not applied:
        raise PublishError(f"{source} needed no repairs; there is nothing to send.", "Nothing has to be done.")
    return model


def repaired_files(model: PatchedModel) -> tuple[PublishedFile, ...]:
    """The code that the repairs changed, and copies of it that loading looks for elsewhere."""
    return tuple(
        PublishedFile(file.path, file.size, file.after, model.folder / file.path)
        for file in model.files
        if file.action in {"changed", "added"}
    )


def check_not_moved(model: PatchedModel, target: Target, wanted: tuple[PublishedFile, ...]) -> None:
    """Refuse where a file to repair is no longer the one that the folder was made from. Raises PublishError."""
    for file in wanted:
        found, original = target.files.get(file.path), model.originals.get(file.path)
        same = found is None if original is None else published_file(file.path, original).equals(found)
        if not same and not file.equals(found):
            raise PublishError(
                f"{file.path} of {target.repo_id} has changed since {str(model.source.revision)[:7]}, "
                f"which {model.folder} was made from; nothing was written.",
                f"Make the folder again: `patcher patch {model.source.repo_id} --codemod repairs --out DIR`."
                + see("repairs-only"),
            )
