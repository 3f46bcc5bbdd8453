"""Compare clips that are cached with the audio that is there now.

A shard names what each of its clips was made from (`svuprobe.extractors.audio.clips.identity`).
Audio that is not there any more changes nothing: the features stand for it. Audio that is another
would mix two corpora in one cache: that is refused, or, where asked for, the shards that hold such
clips are made again, and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from svuprobe._progress import Reporter
from svuprobe.extractors.audio import Decoders, shown
from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import Clip

_NAMED = 3  # clips in a message
_ELSE = "or keep the other audio under another dataset name"
# Of each shard: clip id -> what the clip was made from.
ShardClips = Mapping[Path, Mapping[str, str]]


def changed_shards(
    decoders: Decoders,
    by_id: Mapping[str, Clip],
    caches: Sequence[ShardClips],
    *,
    replace: bool,
    reporter: Reporter,
) -> list[ShardClips]:
    """Find the shards of each cache that hold clips whose audio, start or end is another now.

    Parameters
    ----------
    by_id
        The clips that are wanted.
    caches
        The shards of each cache, as `svuprobe.extractors.cache.read_shards` has them.
    replace
        Whether such shards are to be made again.
    reporter
        Is told how many clips are cached and have no audio.

    Raises
    ------
    ExtractError
        There are such shards, and they are not to be made again, or can't be without losing other
        clips.
    """
    now = _identities(decoders, by_id, caches)
    changed: list[ShardClips] = []
    for shards in caches:
        changed.append({path: clips for path, clips in shards.items() if _others(clips, now)})
    if not replace:
        _refuse(changed, by_id, now)
    for shards in changed:
        for path, clips in shards.items():
            # Making a shard again must not lose clips that nobody could make again.
            _refuse_loss(path, clips, by_id, now)
    absent = sum(map(_is_absent, now.values()))
    if absent:
        reporter.say(
            f"{absent} clips are cached and their audio is not there now"
            if absent > 1
            else "1 clip is cached and its audio is not there now"
        )
    return changed


def _identities(
    decoders: Decoders, by_id: Mapping[str, Clip], caches: Sequence[ShardClips]
) -> dict[str, str]:
    """Return what the audio of each clip is that is cached anywhere."""
    known: set[str] = set()
    for shards in caches:
        known.update(*shards.values())
    cached = [clip for clip in by_id.values() if clip.id in known]
    identities = {}
    for clip, now in zip(cached, decoders.identities(cached), strict=True):
        if now is None:
            raise ExtractError(f"{shown(clip.path)}: {decoders.why(clip.path)}")
        identities[clip.id] = now
    return identities


def _is_absent(identity: str) -> bool:
    """Return whether an identity has no fingerprint: the file is not there, or can't be read."""
    return identity.startswith(" ")  # "FINGERPRINT START-END"


def _others(clips: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the clips that are something else now; of those without audio start and end are
    compared.
    """
    return [i for i, then in clips.items() if i in now and _is_other(then, now[i])]


def _is_other(then: str, now: str) -> bool:
    """Return whether an identity is another now than it was then."""
    # The features stand for audio that is gone; the part of it is known from the task.
    if _is_absent(now):
        return then.partition(" ")[2] != now.partition(" ")[2]
    return then != now


def _refuse(
    caches: Sequence[ShardClips], by_id: Mapping[str, Clip], now: Mapping[str, str]
) -> None:
    """Raise ExtractError that names the clips of changed shards, if there are any."""
    changed: list[str] = []
    folders: list[Path] = []
    for shards in caches:
        for path, clips in shards.items():
            changed += _others(clips, now)
            folders.append(path.parent)
    if not changed:
        return
    # In the order in which they were found, each once.
    changed, folders = list(dict.fromkeys(changed)), list(dict.fromkeys(folders))
    more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
    raise ExtractError(
        f"{_count(changed)} not what {folders[0]}{more} was made from (audio, start or end): "
        f"{_named(changed, by_id)}; nothing was done: svuprobe extract --replace-changed makes "
        f"again just the shards that hold such clips, {_ELSE}"
    )


def _refuse_loss(
    shard: Path, clips: Mapping[str, str], by_id: Mapping[str, Clip], now: Mapping[str, str]
) -> None:
    """Raise ExtractError where a shard holds clips that can't be made again."""
    strange = [i for i in clips if i not in by_id]
    absent = [i for i in clips if i in now and _is_absent(now[i])]
    for lost, why, what in (
        (absent, "whose audio is not there now", "bring that back"),
        (strange, "which no task given here has", "give their tasks too (--task)"),
    ):
        if lost:
            raise ExtractError(
                f"{shard}: holds changed clips and {_named(lost, by_id)}, {why}: making it again "
                f"would lose {'it' if len(lost) == 1 else 'them'}; nothing was done: {what}, "
                f"{_ELSE}"
            )


def _count(clips: Sequence[str]) -> str:
    return "1 clip is" if len(clips) == 1 else f"{len(clips)} clips are"


def _named(ids: Sequence[str], by_id: Mapping[str, Clip]) -> str:
    """Name some of the clips, and say how many more there are."""
    words = []
    for clip_id in ids[:_NAMED]:
        where = f" ({shown(by_id[clip_id].path)})" if clip_id in by_id else ""
        words.append(f"{clip_id!r}{where}")
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(words) + more
