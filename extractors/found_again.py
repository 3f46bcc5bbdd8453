"""Find the caches of a checkpoint in a folder again where that folder has moved.

A cache carries the path that its model lay at. The same weights at another path give the same
features: their revision is a digest of the bytes of the weights and of the files that say how audio
is taken (`svuprobe.extractors.checkpoints.revision`), and a path is not in it. So what one path has
filled serves for the other, under the name that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import Header, made_with, misplaced
from svuprobe.extractors.loading import local_revision
from svuprobe.extractors.name_forms import FolderName
from svuprobe.extractors.names import canonical, parse, slug


def is_folder(name: str) -> bool:
    """Return whether a model's name, as it may stand in a file, is that of a local checkpoint."""
    try:
        return isinstance(parse(name), FolderName)
    except ExtractError:
        return False


def revision_here(name: str) -> str:
    """Return the revision that a checkpoint in a folder has now; empty for models of other forms,
    and where none is there.
    """
    try:
        return (local_revision(name) or "") if is_folder(name) else ""
    except ExtractError:
        return ""


def begun_elsewhere(features: Path, header: Header) -> Header | None:
    """Return what another path's cache of the same weights is made with; None where there is none.

    It agrees in everything that features depend on but the path. One that is joined comes before
    one that was left unfinished.
    """
    if not is_folder(header.model):
        return None
    folders = list(_of_revision(features, header.revision, _folder(header)))
    folders.sort(key=lambda folder: not (folder / "features.h5").exists())
    for folder in folders:
        begun = _header(folder)
        if begun is None or not is_folder(begun.model):
            continue
        # A cache that an older version began, without deviations, goes on as it is.
        pooling = begun.pooling and header.pooling
        wanted = replace(header, model=begun.model, pooling=pooling)
        if begun.determining() == wanted.determining():
            return begun
    return None


def finished_elsewhere(
    features: Path, model: str, dataset: str, windowing: str, level: str
) -> list[Path]:
    """Return the folders of finished caches that other paths have of a model's present weights.

    None where the model's own path has one of this revision, or holds no checkpoint now.
    """
    name = f"{dataset}-{windowing}-{level}"
    own, others = set(), []
    for path in sorted(features.glob(f"*@*/{name}/features.h5")):
        folder = path.parent
        of_model, _, revision = folder.parent.name.rpartition("@")
        if of_model == slug(model):
            own.add(revision)
        else:
            others.append((revision, folder))
    # Weights may take seconds to read: only where another path may have them.
    unknown = [folder for revision, folder in others if revision not in own]
    local = [folder for folder in unknown if folder.parent.name.startswith("local-")]
    revision_now = revision_here(model) if local else ""
    found = []
    for folder in local:
        begun = _header(folder) if revision_now else None
        if begun is not None and begun.revision == revision_now and is_folder(begun.model):
            found.append(folder)
    return found


def named_in(features: Path, model: str) -> str:
    """Return the name under which caches hold a model's present weights: its own, if they hold
    them so.
    """
    name = canonical(model)
    others = [path for path in features.glob("local-*@*") if path.name[:-9] != slug(name)]
    revision = revision_here(name) if others else ""
    if not revision or (features / f"{slug(name)}@{revision[:8]}").is_dir():
        return name
    for path in sorted(others):
        for folder in sorted(path.iterdir()) if path.name.endswith(revision[:8]) else ():
            begun = _header(folder)
            if begun is not None and begun.revision == revision and is_folder(begun.model):
                return begun.model
    return name


def remark(model: str, header: Header) -> str:
    """Return the line that says whose features are used."""
    return (
        f"{model}: has the weights of {header.model}, whose features are there: they are used, "
        "under that name"
    )


def remarks(model: str, folders: Sequence[Path]) -> list[str]:
    """Return a line for each cache that is another path's."""
    lines = []
    for folder in folders:
        if folder.parent.name.rpartition("@")[0] != slug(model):
            begun = _header(folder)
            lines += [] if begun is None else [remark(model, begun)]
    return lines


def _folder(header: Header) -> str:
    return f"{header.dataset}-{header.windowing}-{header.level}"


def _of_revision(features: Path, revision: str, name: str) -> Iterator[Path]:
    yield from sorted(features.glob(f"local-*@{revision[:8]}/{name}"))


def _header(folder: Path) -> Header | None:
    """Return what a cache is made with; None where there is none, or one that can't be used."""
    try:
        header = made_with(folder)
    except ExtractError:
        return None
    return None if header is None or misplaced(folder, header) else header
