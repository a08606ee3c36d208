"""Where a model comes from: one immutable revision on the Hub, in the local Hub cache, or a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from patcher.codec import json_field
from patcher.errors import HubUnreachable, PatcherError, SourceError, UsageError, see
from patcher.hashing import git_blob_id, sha256_of
from patcher.printable import printable
from patcher.source.cache import linked_weights, named_hash, noted_commit, stores
from patcher.source.hub_errors import fetch_once, from_hub, is_unreachable
from patcher.source.names import MAX_FILES, check_names, is_repository
from patcher.source.progress import progress_class
from patcher.source.request_limit import install_if_asked
from patcher.source.retry import read_with_retry

MAX_TEXT = 10_000_000  # bytes of a file that is read completely: code, configuration, card
MAX_TEXTS = 50_000_000  # and of all of them together
POINTER = b"version https://git-lfs.github.com/spec/"
IS_POINTER = "is a Git LFS pointer, not the file itself"
FETCH_LFS = "Run `git lfs pull` in its clone, or get the model with `hf download`."
_SKIPPED_FOLDERS = {".git", ".cache", "__pycache__"}


class AlteredFile(SourceError):
    """A file in the local cache is not the one that the Hub lists."""


@dataclass(frozen=True)
class Source:
    """A resolved source: a Hub repository at a 40-digit commit, or a folder.

    `path` is the name of the folder and `folder` where it is on this machine, which no record says. `base_model` is the
    repository that the folder is from, if the user said so, and `base_revision` its commit, if the client left a note.
    """

    repo_id: str | None
    revision: str | None
    path: str | None
    base_model: str | None = None
    base_revision: str | None = None
    folder: Path | None = json_field(omit=True, default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision}" if self.repo_id else str(self.folder or self.path)

    @property
    def named(self) -> Source:
        """The same without its place on this machine, which early records hold as `path`: for what others read."""
        return replace(self, folder=None, path=self.path and PurePath(self.path).name)

    @property
    def origin(self) -> str | None:
        """The repository that it is, or that the folder is from."""
        return self.repo_id or self.base_model


@dataclass(frozen=True)
class File:
    """One file of a snapshot; `size` in bytes.

    The listing of the Hub has `sha256` for large files (LFS and Xet) and `blob_id`, that of git, for the others.
    """

    path: str
    size: int | None
    sha256: str | None = None
    blob_id: str | None = None

    def matches(self, content: Path | bytes) -> bool:
        """Whether a content is the listed one; True where the listing has no hash."""
        if self.sha256 is not None:
            return sha256_of(content) == self.sha256
        return self.blob_id is None or git_blob_id(content) == self.blob_id

    @property
    def is_large(self) -> bool:
        """Whether hashing it takes time: weights."""
        return self.sha256 is not None and (self.size or 0) > MAX_TEXT


@dataclass(frozen=True)
class Snapshot:
    """The files of one revision, and the folder of those that were fetched.

    `complete` is False where the Hub could not be asked and its cache has no listing: `files` are those in the cache.
    `linked` are the weights of a patched folder that lie outside of it, behind links, and have the recorded hashes.
    """

    source: Source
    files: tuple[File, ...]
    root: Path | None
    complete: bool = True
    linked: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the files."""
        return tuple(file.path for file in self.files)

    @property
    def readable(self) -> tuple[Path, ...]:
        """What a child that runs the model reads: the folder, and the weights that it links to."""
        return (self.root, *self.linked) if self.root else ()

    def has(self, paths: Iterable[str]) -> bool:
        """Whether all of these files are on this machine."""
        return self.root is not None and all((self.root / path).is_file() for path in paths)

    def local(self, path: str) -> Path:
        """Path of a fetched file. Raises HubUnreachable where it is missing, SourceError where a folder lost it."""
        found = self.root / path if self.root else None
        if (found is None or not found.is_file()) and self.source.repo_id is None:
            raise SourceError(f"{path} of {self.source} is not there any more.", "Put it back, then try again.")
        if found is None or not found.is_file():
            raise HubUnreachable(f"{path} of {self.source} is not in the local Hub cache.", fetch_once())
        return found

    def lacks(self, message: str, hint: str) -> PatcherError:
        """The error for something that is missing. Of a part of a repository, nobody can tell what the whole lacks."""
        if self.complete:
            return SourceError(message, hint)
        return HubUnreachable(f"{message.rstrip('.')} in the local Hub cache, which may be incomplete.", fetch_once())

    def read(self, path: str) -> bytes:
        """Content of a fetched file.

        Raises SourceError where it is too large to be code, configuration or a card, or only points to one.
        """
        with self.local(path).open("rb") as file:
            content = file.read(MAX_TEXT + 1)
        check_size(self.source, path, len(content))
        if content.startswith(POINTER):
            raise SourceError(f"{path} of {self.source} {IS_POINTER}.", FETCH_LFS)
        return content


def resolve(spec: str, revision: str | None = None, base_model: str | None = None) -> Snapshot:
    """Resolve a folder, a Hub id, `id@revision`, an `hf://` URI or a Hub URL to one revision and list its files.

    `base_model` is the repository that a folder is from.

    An existing folder has precedence over a Hub id of the same name, as in transformers. Without a network the local
    Hub cache is used. Raises UsageError for an invalid name, SourceError where there is no such source, AccessDenied
    or HubUnreachable where the Hub refuses or does not answer.
    """
    if spec and Path(spec).is_dir():
        if revision is not None:
            raise UsageError(f"{spec} is a folder and has no revisions.", "Leave out --revision, or use a Hub id.")
        if base_model is not None and not is_repository(base_model):
            raise UsageError(f"{base_model!r} is not a valid repo id.", "Use namespace/name.")
        found = _from_folder(Path(spec))
        return replace(found, source=replace(found.source, base_model=base_model))
    if base_model is not None:
        raise UsageError(f"--base-model is for source folders, and {spec} is not one.", "Leave out --base-model.")
    return _from_hub(*parse_hub_id(spec, revision))


def parse_hub_id(spec: str, revision: str | None = None) -> tuple[str, str | None]:
    """The repository and the revision that a Hub id, `id@revision` or URI names. Raises UsageError or SourceError."""
    repo_id, named = _parse(spec)
    if revision and named and revision != named:
        raise UsageError(f"Two revisions were given: {named!r} and {revision!r}.", "Use only one of them.")
    return repo_id, revision or named


def fetch(snapshot: Snapshot, paths: Iterable[str]) -> Snapshot:
    """Download the named files and return the snapshot that can read them.

    Files that were fetched before are not fetched again; a folder needs no download. What is not larger than
    `MAX_TEXT` is compared with the listing; larger files are so by `fetch_checked`, or by who hashes them anyway.
    Raises AlteredFile where the local Hub cache has another content, HubUnreachable where it has not the file and the
    Hub does not answer.
    """
    repo_id, commit, paths = snapshot.source.repo_id, snapshot.source.revision, set(paths)
    missing = [path for path in paths if snapshot.root is None or not (snapshot.root / path).is_file()]
    if repo_id is not None and missing:
        patterns = [literal_pattern(path) for path in missing]
        try:
            root = read_with_retry(lambda: _download(snapshot.source, allow_patterns=patterns))
        except Exception as error:
            raise from_hub(error, repo_id, commit, _largest(snapshot, missing)) from error
        snapshot = replace(snapshot, root=root)
        snapshot.local(_largest(snapshot, [path for path in missing if not (root / path).is_file()] or missing))
    _check_content(snapshot, (file.path for file in snapshot.files if file.path in paths and not file.is_large))
    return snapshot


def fetch_checked(snapshot: Snapshot, paths: Iterable[str]) -> Snapshot:
    """The same with large files compared, too: weights that are loaded. Each is read once for many runs."""
    paths = set(paths)
    snapshot = fetch(snapshot, paths)
    _check_content(snapshot, (file.path for file in snapshot.files if file.path in paths and file.is_large))
    return snapshot


def _largest(snapshot: Snapshot, paths: Iterable[str]) -> str:
    """The file to name of several that are missing: the weights."""
    sizes = {file.path: file.size or 0 for file in snapshot.files}
    return max(paths, key=lambda path: sizes.get(path, 0))


def _check_content(snapshot: Snapshot, paths: Iterable[str]) -> None:
    """Compare fetched files with the listing of the Hub. Raises AlteredFile where one differs."""
    listed = {file.path: file for file in snapshot.files}
    for path in paths:
        local = snapshot.root / path if snapshot.root else None
        if local is not None and local.is_file() and not listed[path].matches(local):
            raise altered(snapshot, path)


def altered(snapshot: Snapshot, path: str) -> AlteredFile:
    """The error for a fetched file whose content is not the one that the Hub lists."""
    source, cached = snapshot.source, os.path.realpath(snapshot.local(path))
    check = (
        f"; `hf cache verify {source.repo_id} --revision {source.revision}` checks the others" if source.repo_id else ""
    )
    return AlteredFile(
        f"{path} of {source} is not the file that the Hub lists: the copy in the local cache was changed or damaged.",
        f"Delete {cached} and run the command again{check}.",
    )


def _download(source: Source, **options: Any) -> Path:
    """The folder of a snapshot in the local Hub cache, which may have only part of it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    install_if_asked()
    try:
        return Path(
            snapshot_download(str(source.repo_id), revision=source.revision, tqdm_class=progress_class(), **options)
        )
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)


def fetch_texts(snapshot: Snapshot, paths: Iterable[str]) -> Snapshot:
    """The same for files that are read completely; huge ones are refused before the download (SourceError)."""
    wanted = set(paths)
    sizes = {file.path: file.size or 0 for file in snapshot.files if file.path in wanted}
    for path, size in sizes.items():
        check_size(snapshot.source, path, size)
    if sum(sizes.values()) > MAX_TEXTS:
        raise SourceError(
            f"{snapshot.source} has {sum(sizes.values()):,} bytes of code; models have less than {MAX_TEXTS:,}.",
            "Remove from the folder what is not part of the model.",
        )
    return fetch(snapshot, wanted)


def check_size(source: Source, path: str, size: int) -> None:
    """Refuse a file that is too large to be code, configuration or a card; `size` in bytes. Raises SourceError."""
    if size > MAX_TEXT:
        raise SourceError(
            f"{path} of {source} has more than {MAX_TEXT:,} bytes; it was not read.",
            "Code, configuration and cards of models are far smaller: inspect that file." + see("names"),
        )


def literal_pattern(path: str) -> str:
    """The fnmatch pattern that matches exactly this path; brackets are the only escape that fnmatch has."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _parse(spec: str) -> tuple[str, str | None]:
    if Path(spec).is_file():
        folder = Path(spec).parent
        raise SourceError(f"{spec} is a file; a model is a folder.", f"Pass the folder `{folder}`.")
    if "://" not in spec and (spec.startswith((".", "/", "~")) or (spec.count("/") > 1 and "@" not in spec)):
        raise SourceError(f"There is no folder {spec}.", "Check the path, or use a Hub id like namespace/name.")
    from huggingface_hub import parse_hf_uri
    from huggingface_hub.errors import HfUriError, HFValidationError

    try:
        uri = parse_hf_uri(spec if "://" in spec else f"hf://{spec}", endpoint=os.environ.get("HF_ENDPOINT"))
    except (HfUriError, HFValidationError) as error:
        raise UsageError(
            f"{spec!r} is neither a folder nor a Hub id.",
            "Use a folder, namespace/name, namespace/name@revision or hf://namespace/name." + see("not-found"),
        ) from error
    if uri.type != "model" or uri.path_in_repo:
        raise UsageError(f"{spec} is not a model repository.", "Use hf://namespace/name[@revision].")
    return uri.id, uri.revision


def _from_folder(folder: Path) -> Snapshot:
    if printable(str(folder)).encode() != os.fsencode(folder):
        raise SourceError(
            f"The name of the folder {str(folder)!r} has characters that are invisible or not UTF-8.",
            "Rename it: the record and the card of the patched model name it.",
        )
    root = folder.resolve()
    inside = (root, *stores(root))
    is_cache = len(inside) > 1
    listed = _cached_listing(root.parent.parent, root.name) or {} if is_cache else {}
    linked = linked_weights(root)
    files, verified = [], []
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            lost = not path.is_file() and not is_cache  # the Hub's cache may have only part of a model
            known = path.is_file() and name in linked and sha256_of(target) == linked[name]
            if path.is_dir() or lost or not (known or any(target.is_relative_to(allowed) for allowed in inside)):
                raise SourceError(
                    f"{name!r} in {folder} is a link to {str(target)!r}, which is not a file of that folder.",
                    "Put the file itself there; links could bring private files into a published model." + see("names"),
                )
            if known and target.suffix == ".safetensors":  # a blob of the Hub's cache is one by its place
                verified.append(target)
        if path.is_file():
            link = Path(os.readlink(path)).name if is_cache and path.is_symlink() else ""
            files.append(listed.get(name) or File(name, path.stat().st_size, **named_hash(link)))
    source = Source(None, None, root.name, base_revision=noted_commit(root), folder=folder)
    return replace(_snapshot(source, files, root, complete=not is_cache), linked=tuple(verified))


def _snapshot(source: Source, files: Iterable[File], root: Path | None, *, complete: bool = True) -> Snapshot:
    files = sorted(files, key=lambda file: file.path)
    check_names((file.path for file in files), source)
    return Snapshot(source, tuple(files), root, complete)


def _walk(root: Path) -> Iterator[Path]:
    """The files of a folder, except caches; links to folders are yielded and not followed."""
    count = 0
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(parent, name)))]:
            count += 1
            if count > MAX_FILES:
                raise SourceError(f"{root} has more than {MAX_FILES:,} files.", "Use the folder of one model.")
            yield Path(parent, name)


def _cached_listing(repository: Path, commit: str) -> dict[str, File] | None:
    """The files that the Hub listed of a commit, by path; None where its cache keeps no listing."""
    try:
        listing = json.loads((repository / "trees" / f"{commit}.json").read_bytes())
        files = listing["files"] if listing["format_version"] == 1 else {}
        return {
            path: File(path, entry["size"], entry.get("lfs_sha256"), entry["blob_id"]) for path, entry in files.items()
        } or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _from_hub(repo_id: str, revision: str | None) -> Snapshot:
    """One request to find the commit, unless it is given, and one for its listing, unless that is cached."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    install_if_asked()
    repository = Path(HF_HUB_CACHE, repo_folder_name(repo_id=repo_id, repo_type="model"))
    source = Source(repo_id, _find_commit(repo_id, revision, repository), None)
    folder = repository / "snapshots" / str(source.revision)
    root = folder if folder.is_dir() else None
    listed = _cached_listing(repository, str(source.revision))
    if listed is not None:
        return _snapshot(source, listed.values(), root)
    try:
        return _snapshot(source, _list(source, repository), root)
    except Exception as error:
        if isinstance(error, PatcherError) or root is None or not is_unreachable(error):
            raise error if isinstance(error, PatcherError) else from_hub(error, repo_id, source.revision) from error
        return replace(_from_folder(root), source=source)


def _find_commit(repo_id: str, revision: str | None, repository: Path) -> str:
    """The commit that a revision is: the Hub's word, or that of the cache where the Hub can't be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionResolutionError

    class Asking(HfApi):
        def repo_info(self, *args: Any, **options: Any) -> Any:
            try:
                return read_with_retry(lambda: HfApi.repo_info(self, *args, **options))
            except ConnectionError as error:
                reason = error.__cause__ or error
            raise reason  # what makes the client look into its cache; not above, where it would be its own context

    try:
        return str(Asking().resolve_revision(repo_id, revision=revision).resolved)
    except Exception as error:
        cached = sorted(path.name for path in repository.glob("snapshots/*"))
        if isinstance(error, RevisionResolutionError) and cached:
            what = f"The Hub can't be reached, and its local cache does not say which commit {revision or 'main'} is."
            raise HubUnreachable(what, f"Name the cached commit: {repo_id}@{cached[-1]}.") from error
        raise from_hub(error, repo_id, revision) from error


def _list(source: Source, repository: Path) -> list[File]:
    """The files that the Hub lists, which are kept where the client looks for them before it asks again."""
    from huggingface_hub import HfApi
    from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache
    from huggingface_hub.hf_api import RepoFile

    repo_id, commit = str(source.repo_id), str(source.revision)
    tree = read_with_retry(lambda: list(HfApi().list_repo_tree(repo_id, revision=commit, recursive=True)))
    listed = [file for file in tree if isinstance(file, RepoFile)]
    if listed:
        entries = {
            file.path: TreeCacheEntry(
                file.size,
                file.blob_id,
                file.lfs.sha256 if file.lfs else None,
                file.lfs.size if file.lfs else None,
                file.xet_hash,
            )
            for file in listed
        }
        write_tree_cache(str(repository), commit, entries)
    return [File(file.path, file.size, file.lfs.sha256 if file.lfs else None, file.blob_id) for file in listed]
