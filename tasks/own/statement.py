"""Say what was understood of own data, before work starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from svuprobe.tasks import kinds
from svuprobe.tasks.folds import names as fold_names
from svuprobe.tasks.kinds.frames import FrameKind
from svuprobe.tasks.own import listing_of
from svuprobe.tasks.own.listing import Listing, Row
from svuprobe.tasks.own.splits import NAMES
from svuprobe.tasks.types import Clip, Task

_LONGEST = 40  # letters of a cell in the table of first rows


def sentences(task: Task, clips: Sequence[Clip]) -> list[str]:
    """Say of which form own data are, what was understood by itself, and what was left out.

    Parameters
    ----------
    clips
        As `svuprobe.tasks.find_clips` found them.

    Returns
    -------
    list of str
        Two: what was read, and how clips are divided; then one for each thing to note. None ends in
        a full stop.
    """
    listing = listing_of(task)
    files = len({clip.path for clip in clips})
    read = [f"{listing.place}: {listing.form}", f"{files:,} files", task.kind]
    for ours, theirs in listing.called.items():
        read.append(f"{ours} is {theirs}")
    if listing.unused:
        read.append(f"not used: {', '.join(listing.unused)}")
    return [", ".join(read), _division(task, listing, clips), *listing.notes]


def _division(task: Task, listing: Listing, clips: Sequence[Clip]) -> str:
    """Say where splits or folds are from, and how large groups are."""
    n_groups = len({clip.group for clip in clips})
    # A clip without a group is one of its own, or of its file.
    many = f"{n_groups:,} groups"
    if n_groups == len({clip.path for clip in clips}):
        many = f"{n_groups:,} files (no groups are given)"
    folds = fold_names(clips)
    if folds:
        given = any(row.cells.get("fold") for row in listing.rows)
        how = "as given" if given else f"dealt out, each of {many} whole in one"
        return f"{len(folds)} folds, {how}"
    if not any(row.cells.get("split") for row in listing.rows):
        return f"no split given: 60/20/20, each of {many} whole in one"
    carved = _carved(listing, clips)
    if carved:
        whole = sum(clip.split == "train" for clip in clips) + carved
        return (
            f"splits as given; none for validation, so {carved:,} of the {whole:,} training clips "
            f"are it, each of {many} whole in one"
        )
    return f"splits as given, {many}"


def _pairs(listing: Listing, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Row]]:
    """Yield each clip with its row, as long as files that change meanwhile have both."""
    return zip(clips, listing.rows, strict=False)


def _carved(listing: Listing, clips: Sequence[Clip]) -> int:
    """Count the clips that validate though they were given for training."""
    count = 0
    for clip, row in _pairs(listing, clips):
        given = NAMES.get(row.cells.get("split", "").lower())
        count += given == "train" and clip.split == "valid"
    return count


def first_rows(task: Task, clips: Sequence[Clip], most: int = 5) -> list[list[str]]:
    """Return the first clips as they were understood, a header first."""
    kind = kinds.of(task)
    in_folds = bool(fold_names(clips))
    rows = [["id", "fold" if in_folds else "split", "group", "from", "to", "target"]]
    for clip in clips[:most]:
        target = kind.in_words(clip.target) if isinstance(kind, FrameKind) else clip.target
        if isinstance(target, tuple):
            target = " | ".join(map(str, target))
        end = "end" if clip.end is None else f"{clip.end:g} s"
        place = clip.fold if in_folds else clip.split
        cells = [clip.id, place, clip.group, f"{clip.start:g} s", end, str(target)]
        rows.append([_cut(cell) for cell in cells])
    return rows


def _cut(text: str) -> str:
    """Shorten a cell in its middle: paths are told apart by their ends."""
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
