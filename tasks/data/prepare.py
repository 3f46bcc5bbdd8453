"""Download and unpack the datasets that anybody may download.

Conventions
-----------
``PREPARED.json`` in the folder of a dataset says what was downloaded from where, with its SHA-256;
it is written first, so a folder that holds anybody else's files is never touched, and for every
archive before what it holds is moved into place, so a call after an interruption knows what is its
own and goes on there, and a call after the last one asks no server anything. Downloads lie in
``.download`` until they are unpacked, and archives are unpacked there before their folders are
moved into place: what is in place is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from svuprobe._errors import did_you_mean
from svuprobe._files import replacing, sha256_of, writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.data.download import BLOCK, ResumingDownloader
from svuprobe.tasks.data.unpack import DamagedArchive, unpack
from svuprobe.tasks.datasets import DATASETS, Archive, Dataset
from svuprobe.tasks.synth.corpus import MARKER, is_taken, write_text
from svuprobe.tasks.types import TaskError

# In the folder of a dataset: what was downloaded, and where that lies until it is unpacked.
STATE = "PREPARED.json"
FOLDER = ".download"
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def prepare(
    dataset: str,
    root: Path,
    *,
    reporter: Reporter = SILENT,
    cards: Mapping[str, Dataset] = DATASETS,
) -> list[Path]:
    """Download and unpack a dataset into its folder, where that is allowed; what is there is left
    alone.

    Parameters
    ----------
    root
        The folder of this dataset: absent, empty, or one that an earlier call began.
    reporter
        Says the licence, the checksums of what came without a known one, and what is left to do;
        shows a bar of the bytes of each download.

    Returns
    -------
    list of Path
        The files and folders that were unpacked, by this call or an earlier one.

    Raises
    ------
    TaskError
        The dataset may not be downloaded without asking, the folder is not ours to fill, a server
        gave up, or an archive is not what was published.
    """
    card = _card(dataset, cards)
    if card.embedded:
        reporter.say(
            f"{dataset} comes with svuprobe, in {card.embedded}: there is nothing to download"
        )
        return []
    if not card.archives:
        raise TaskError(
            f"{dataset} can't be downloaded for you ({card.licence}; {card.homepage}). {card.how} "
            f"Its folder is {root}"
        )
    done = _claim(root, card)
    # What an earlier call has done asks no server again.
    todo = [archive for archive in card.archives if not _there(root, done.get(archive.name))]
    if todo:
        reporter.say(card.title)
        reporter.say(f"licence: {card.licence}; see {card.homepage}")
    for archive in todo:
        path = _fetch(archive, root / FOLDER, reporter)
        digest = sha256_of(path)
        if archive.checksum is None:
            reporter.say(f"{archive.name}: sha256:{digest} (no published checksum to compare with)")

        def record(made: list[str], archive: Archive = archive, digest: str = digest) -> None:
            done[archive.name] = {"urls": archive.urls, "sha256": digest, "made": made}
            _write_state(root, card, done)

        _place(path, archive, root, done.get(archive.name, {}).get("made", []), record)
        # What is in place needs no archive any more: large ones would double the room.
        path.unlink(missing_ok=True)
    # Only when all is in place: parts of downloads are what a next call goes on from.
    shutil.rmtree(root / FOLDER, ignore_errors=True)
    if card.how:
        reporter.say(f"left to do: {card.how}")
    return [root / name for archive in card.archives for name in done[archive.name]["made"]]


def _card(dataset: str, cards: Mapping[str, Dataset]) -> Dataset:
    if dataset in cards:
        return cards[dataset]
    raise TaskError(
        f"unknown dataset {dataset!r}: {did_you_mean(dataset, cards, most=3, alike=0.5)}"
    )


def _claim(root: Path, card: Dataset) -> dict[str, Any]:
    """Return what was done here before; refuse a folder that holds anybody else's files."""
    if (root / MARKER).exists():
        raise TaskError(
            f"{root} holds a synthetic copy of {card.name}: choose another folder for the real one"
        )
    state = root / STATE
    if state.is_file():
        return _record(state)
    if is_taken(root, state):
        raise TaskError(
            f"{root} is not empty and has no {STATE}: it may be your data and is never "
            "overwritten; svuprobe data check says whether it is whole"
        )
    _write_state(root, card, {})
    return {}


def _record(state: Path) -> dict[str, Any]:
    """Read what a record says of each archive: ``made`` are names in the folder."""
    try:
        done = dict(json.loads(state.read_text(encoding="utf-8"))["archives"])
        for entry in done.values():
            # A record that was edited must not make us delete or move anything elsewhere.
            if not all(
                type(made) is str and PurePosixPath(made).name == made != ".."
                for made in entry["made"]
            ):
                raise ValueError("no names in this folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TaskError(
            f"{state} can't be read: delete it if the folder is to be filled again"
        ) from None
    return done


def _write_state(root: Path, card: Dataset, done: Mapping[str, Any]) -> None:
    body = {
        "dataset": card.name,
        "licence": card.licence,
        "homepage": card.homepage,
        "archives": done,
    }
    write_text(root / STATE, json.dumps(body, indent=1))


def _there(root: Path, entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and all((root / name).exists() for name in entry["made"])


def _fetch(archive: Archive, folder: Path, reporter: Reporter) -> Path:
    """Return the archive, downloaded, joined and compared with its checksum."""
    path = folder / archive.name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if len(archive.urls) == 1:
        return _retrieve(archive.urls[0], path, archive.checksum, reporter)
    if not path.is_file():
        names = [folder / f"{archive.name}.{n}" for n in range(1, len(archive.urls) + 1)]
        parts = [
            _retrieve(u, name, None, reporter) for u, name in zip(archive.urls, names, strict=True)
        ]
        _join(parts, path)
    if archive.checksum and not _pooch().hashes.hash_matches(path, archive.checksum):
        path.unlink()
        raise TaskError(
            f"{archive.name}: its parts don't give the published {archive.checksum}; they were "
            "removed"
        )
    return path


def _retrieve(url: str, path: Path, checksum: str | None, reporter: Reporter) -> Path:
    pooch = _pooch()
    downloader = ResumingDownloader(path.with_name(f"{path.name}.part"), reporter)
    try:
        return Path(
            pooch.retrieve(
                url, known_hash=checksum, fname=path.name, path=path.parent, downloader=downloader
            )
        )
    except ValueError:
        raise TaskError(
            f"{url}: not the published file ({checksum}); it was removed: try again later"
        ) from None


def _pooch() -> Any:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its advice is for programmers
    return pooch


def _join(parts: list[Path], path: Path) -> None:
    with replacing(path) as whole, whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out, BLOCK)
    for part in parts:
        part.unlink()


def _place(
    path: Path, archive: Archive, root: Path, ours: list[str], record: Callable[[list[str]], None]
) -> None:
    """Unpack a download and move it into place. What an earlier call made (``ours``) stays.

    The names below ``root`` are recorded first: whoever is killed between finds that they are ours.
    Nothing half-unpacked stays, and no space is taken by it.
    """
    staging = path.with_name(f"{path.name}.unpacked")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with writing(root):
            made = _unpacked(path, archive, staging)
            if foreign := next((n for n in made if n not in ours and (root / n).exists()), None):
                raise TaskError(
                    f"{root / foreign} is there already and never overwritten: move it away and "
                    "run this again"
                )
            record(made)
            for name in made:
                if not (root / name).exists():
                    os.replace(staging / name, root / name)
    except DamagedArchive:
        path.unlink()
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpacked(path: Path, archive: Archive, staging: Path) -> list[str]:
    """Unpack a download into an empty folder; return the names there."""
    inside = staging / archive.unpack_to
    inside.mkdir(parents=True)
    if archive.name.endswith((".zip", *TARS)):
        unpack(path, inside, archive.strip)
    else:
        shutil.copy2(path, inside / archive.name)
    return sorted(entry.name for entry in staging.iterdir())
