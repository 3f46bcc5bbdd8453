"""Plan which clips go into which shard, before work starts (`svuprobe.extractors.cache.format`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from svuprobe._files import locked, temporary_for, writing
from svuprobe.extractors.cache.checksums import publish, reading
from svuprobe.extractors.cache.format import Header, numbered
from svuprobe.extractors.cache.shards import read_shard

# In a shard, at most; more at clip level where there would be over 256 shards.
_CLIPS = {"clip": 32, "frame": 8}
# Of audio in a shard, at most: what an interruption may cost.
_SECONDS = {"clip": 7200.0, "frame": 600.0}
_SHARDS = 256


class ShardPlan(NamedTuple):
    """Hold shard name -> clip ids, and clip id -> seconds, for the clips that one plan added."""

    header: Header
    shards: dict[str, list[str]]
    seconds: dict[str, float]


def read_plan(path: Path) -> ShardPlan:
    """Read one plan; ExtractError where it is damaged."""
    with reading(path):
        stored = json.loads(path.read_text(encoding="utf-8"))
        return ShardPlan(
            Header.read(stored["header"]), dict(stored["shards"]), dict(stored["seconds"])
        )


def made_with(directory: Path) -> Header | None:
    """Return what a cache that has been begun is made with; None where none has been.

    Raises ExtractError where the file that says it is damaged.
    """
    for path in numbered(directory, "plan-*.json").values():
        return read_plan(path).header
    for path in numbered(directory, "shard-*.h5").values():
        return read_shard(path)[0]
    return None


def plan_shards(
    directory: Path, header: Header, seconds: Mapping[str, float]
) -> dict[str, list[str]]:
    """Plan the shards that hold or will hold some clips: shard name -> clip ids.

    Clips that no plan names yet, or that failed in a shard already finished, are planned now: by
    length, longest first, so that batches hold clips of like length. The split depends on the clips
    and their lengths alone, so processes that start together make the same plan. A shard whose plan
    was lost counts with what it holds, and no shard takes its name.

    Parameters
    ----------
    seconds
        Of audio in each clip that is wanted, by clip id.

    Raises
    ------
    ExtractError
        The cache is another model's or damaged, or can't be written.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    shards, new = _planned(directory, header, seconds)
    if not new:
        return shards  # without a lock: the folder may be one where nothing can be written
    with locked(directory / "plan", wait=True):
        # Another process may have planned them meanwhile.
        shards, new = _planned(directory, header, seconds)
        if new:
            # ``shard-NNNNN.h5``: the number stands between the sixth character and the suffix.
            first = 1 + max((int(name[6:-3]) for name in shards), default=-1)
            ordered = sorted(new, key=lambda i: (-seconds[i], i))
            added = _split(ordered, seconds, header.level, first)
            number = 1 + max(numbered(directory, "plan-*.json"), default=-1)
            # Rounded, so that plans made from headers on different systems are the same text.
            lasting = {i: round(float(seconds[i]), 3) for i in ordered}
            text = json.dumps(
                {"header": header.attributes(), "shards": added, "seconds": lasting}, indent=1
            )
            _publish_text(directory / f"plan-{number:05d}.json", text)
            shards |= added
    return shards


def _planned(
    directory: Path, header: Header, wanted: Mapping[str, float]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the shards that are planned or there, and the clips wanted that are in none."""
    shards: dict[str, list[str]] = {}
    for path in numbered(directory, "plan-*.json").values():
        old = read_plan(path)
        header.require(old.header, path)
        shards |= old.shards
    # What a finished shard lacks of its plan failed in it, and is planned anew.
    covered = dict(shards)
    for path in numbered(directory, "shard-*.h5").values():
        made_with, clips = read_shard(path)
        header.require(made_with, path)
        covered[path.name] = list(clips)
        shards.setdefault(path.name, list(clips))
    known = set(chain.from_iterable(covered.values()))
    return shards, [i for i in wanted if i not in known]


def _split(
    ids: Sequence[str], seconds: Mapping[str, float], level: str, first: int
) -> dict[str, list[str]]:
    """Split into shards of consecutive clips, within their bounds.

    A clip longer than the bounds has a shard of its own.
    """
    most = _CLIPS[level] if level == "frame" else max(_CLIPS[level], -(-len(ids) // _SHARDS))
    blocks: list[list[str]] = []
    left = 0.0
    for clip_id in ids:
        if not blocks or len(blocks[-1]) == most or seconds[clip_id] > left:
            blocks.append([])
            left = _SECONDS[level]
        blocks[-1].append(clip_id)
        left -= seconds[clip_id]
    return {f"shard-{first + n:05d}.h5": block for n, block in enumerate(blocks)}


def _publish_text(path: Path, text: str) -> None:
    temporary = temporary_for(path)
    with writing(path):
        try:
            temporary.write_text(text, encoding="utf-8")
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
