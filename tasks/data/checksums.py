"""Compare every file of a dataset with what it was.

A synthetic copy is held against its marker, a dataset that lists checksums against its list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from svuprobe._files import sha256_of
from svuprobe._progress import Reporter
from svuprobe.tasks.datasets import DATASETS
from svuprobe.tasks.synth.corpus import MARKER, mapped, read_marker
from svuprobe.tasks.types import Task, TaskError


def against_marker(
    root: Path, paths: Sequence[str], reporter: Reporter, thorough: bool, jobs: int | None
) -> list[str]:
    """Say which files that ``SYNTHETIC.json`` names are absent, and which clips are of others.

    Parameters
    ----------
    paths
        The files of the clips.
    thorough
        Also say which files have another SHA-256 than it names.
    jobs
        Threads that read files; by default one per processor.
    """
    try:
        files: dict[str, str] = read_marker(root / MARKER)["files"]
    except (TaskError, KeyError):
        return [f"{MARKER}: not that of a finished copy; run svuprobe data synth again"]
    absent = [name for name in files if not (root / name).is_file()]
    problems = [f"{name}: no such file; run svuprobe data synth again" for name in absent]
    # Links are followed, since a clip may be named through one.
    known = {(root / name).resolve() for name in files}
    problems += [
        f"{short(path, root)}: not of this copy; {MARKER} does not name it"
        for path in paths
        if Path(path).resolve() not in known
    ]
    if thorough:
        left_out = set(absent)
        there = {name: digest for name, digest in files.items() if name not in left_out}
        changed = _changed(root, there, reporter, jobs)
        problems += [f"{name}: changed since it was written" for name in changed]
    return problems


def against_list(
    task: Task, root: Path, paths: Sequence[str], reporter: Reporter, jobs: int | None
) -> list[str]:
    """Say which files have another SHA-256 than their dataset lists; none where it lists none.

    Parameters
    ----------
    paths
        The files of the clips, below ``root``; one that is absent is not named here.
    jobs
        Threads that read files; by default one per processor.
    """
    card = DATASETS.get(task.dataset)
    if task.source or card is None or card.checksums is None:
        return []
    listed = card.checksums(root)
    there = {}
    for path in paths:
        name = Path(path).relative_to(root).as_posix()
        if Path(path).is_file():
            there[name] = listed[name]
    changed = _changed(root, there, reporter, jobs)
    return [f"{name}: not the recording whose SHA-256 is listed" for name in changed]


def _changed(
    root: Path, digests: Mapping[str, str], reporter: Reporter, jobs: int | None
) -> list[str]:
    """Return the files below a folder whose SHA-256 is another."""
    now = mapped(lambda name: sha256_of(root / name), list(digests), reporter, "checksums", jobs)
    return [name for name, digest in zip(digests, now, strict=True) if digest != digests[name]]


def short(path: str, root: Path) -> str:
    """Return a path below the dataset's folder where it lies there, and whole elsewhere."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
