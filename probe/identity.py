"""Digest everything that determines a result, so that none is taken for another's.

A result is made again unless all of these agree:

``task``
    Every field of the task that can change a score or what is said of it: name, dataset, kind,
    metrics, labels, windowing, what is scored, weights of the classes, decoder, version, licence,
    reference. Not where its files are.
``clips``
    Id, split, group, target, start, end and fold of every clip, whatever their order and paths.
``audio``
    What the audio of every clip with features was: the size of its file and a hash of its ends
    (`svuprobe.extractors.audio.windows.fingerprint`).
``features``
    The header of the cache: weights' digest, normalisation, number format, layers, frame grid,
    windowing, level. Not the device, the number of processes or the bits themselves, which differ
    from machine to machine.
``protocol``
    Every field of the protocol, and what was asked of the products' rounding (``--dtype``).
``scoring``
    `SCORING`, a number in this module that rises whenever the same input would score otherwise:
    training, selection, decoding, metrics, intervals. Versions of libraries are in the result and
    not in its identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields as fields_of
from typing import Any

from svuprobe.extractors.audio import fingerprint, identity_of
from svuprobe.extractors.cache import FeatureCache, Header
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Clip, Task

SCORING = 4
# How a task finds its clips and what is expected of them
# change no score: the clips are told apart by themselves.
_NOT_OF_A_TASK = {"clips", "source", "expected", "hours", "labels"}
# The name may hold a path, and revisions have folders of their own; the format and what is pooled
# say what else the file holds: what heads read of it is a field of the protocol. How the model was
# trained is a fact about it, and in its weights.
_NOT_OF_FEATURES = {
    "model", "revision", "parameters", "format", "recipe", "pooling", "trained_s", "at_once_s"
}  # fmt: skip


def of_task(task: Task, labels: Sequence[str]) -> str:
    """Digest a task as it is scored."""
    named = {f.name: getattr(task, f.name) for f in fields_of(task) if f.name not in _NOT_OF_A_TASK}
    return _digest(named | {"windowing": asdict(task.windowing), "labels": list(labels)})


def of_clips(clips: Sequence[Clip]) -> str:
    """Digest clips, whatever their order."""
    lines = []
    for c in clips:
        fields = [c.id, c.split, c.group, c.target, c.start, c.end]
        # Without folds it is the digest that results had before there were any.
        lines.append(json.dumps([*fields, c.fold] if c.fold else fields))
    return _digest(sorted(lines))


def of_audio(marks: Mapping[str, str]) -> str:
    """Digest what the audio of clips was, from their fingerprints by clip id."""
    return _digest(sorted(marks.items()))


def of_header(header: Header) -> str:
    """Digest how features were made."""
    return _digest(
        {key: value for key, value in header.attributes().items() if key not in _NOT_OF_FEATURES}
    )


def of_protocol(protocol_hash: str, dtype: str) -> str:
    """Digest a protocol and what was asked of the number format of training."""
    return _digest([protocol_hash, dtype])


def identity(
    task: Task, labels: Sequence[str], clips: Sequence[Clip], protocol_hash: str, dtype: str
) -> dict[str, str]:
    """Return the parts known without features: ``task``, ``clips``, ``protocol`` and
    ``scoring``.
    """
    return {
        "task": of_task(task, labels),
        "clips": of_clips(clips),
        "protocol": of_protocol(protocol_hash, dtype),
        "scoring": str(SCORING),
    }


def of_probe(
    cache: FeatureCache, listed: ClipList, protocol_hash: str, dtype: str
) -> dict[str, str]:
    """Return every part of the identity of a probe, and ``digest`` over all of them."""
    wanted = {clip.id for clip in listed.clips}
    marks = {i: mark for i, mark in marks_in(cache).items() if i in wanted}
    parts = identity(listed.task, listed.labels, listed.clips, protocol_hash, dtype)
    return whole(parts | {"audio": of_audio(marks), "features": of_header(cache.header)})


def of_finetuning(
    about: Mapping[str, Any], listed: ClipList, protocol_hash: str, marks: Mapping[str, str]
) -> dict[str, str]:
    """Return every part of the identity of a fine-tuned model.

    Parameters
    ----------
    about
        What a network says of itself: ``digest`` of the weights that training starts from,
        ``dtype``, and how its audio is taken. Its name may hold a path and does not count.
    marks
        What the audio of each clip is, by clip id (`marks_of`).
    """
    parts = identity(listed.task, listed.labels, listed.clips, protocol_hash, str(about["dtype"]))
    started = _digest(
        {key: value for key, value in about.items() if key not in _NOT_OF_FEATURES | {"name"}}
    )
    return whole(parts | {"audio": of_audio(marks), "features": started})


def whole(parts: Mapping[str, str]) -> dict[str, str]:
    """Return the parts with ``digest``, which is over all of them."""
    return dict(sorted(parts.items())) | {"digest": _digest(dict(parts))}


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Name the parts of ``new`` that ``old`` lacks or has otherwise; none where both are of the
    same.
    """
    return [name for name in new if name != "digest" and old.get(name) != new[name]]


def marks_in(cache: FeatureCache) -> dict[str, str]:
    """Return what the features of each clip in a cache were made from, by clip id."""
    return dict(zip(cache.clip_id.tolist(), cache.fingerprint.tolist(), strict=True))


def marks_of(clips: Sequence[Clip]) -> dict[str, str]:
    """Return what the audio of clips is now, by clip id, without clips whose file is not there."""
    paths = list(dict.fromkeys(clip.path for clip in clips))  # many clips may be parts of one file
    with ThreadPoolExecutor(8) as pool:
        content = dict(zip(paths, pool.map(fingerprint, paths), strict=True))
    return {clip.id: identity_of(clip, content[clip.path]) for clip in clips if content[clip.path]}


def refuse_other_audio(cache: FeatureCache, listed: ClipList) -> None:
    """Raise ProbeError where features are of other audio, or another part of it, than clips name
    now.

    The part is known from the clip list. The file is looked at where it is there, unless it was
    last changed before extraction wrote the list that names it. A cache whose rows say nothing of
    their audio is taken as it is.
    """
    known = marks_in(cache)
    clips = [clip for clip in listed.clips if known.get(clip.id)]
    # As `svuprobe.extractors.audio.clips.identity_of` writes it, behind the fingerprint.
    parts = {clip.id: f" {clip.start!r}-{clip.end!r}" for clip in clips}
    other = [clip.id for clip in clips if not known[clip.id].endswith(parts[clip.id])]
    now = marks_of([clip for clip in clips if not listed.untouched(clip)])
    other += [clip_id for clip_id, mark in now.items() if mark != known[clip_id]]
    if other:
        several = list(dict.fromkeys(other))
        some = ", ".join([*map(repr, several[:3]), *["..."] * (len(several) > 3)])
        task = listed.task.source or listed.task.name
        raise ProbeError(
            f"{cache.directory}: the features of {len(several)} clips ({some}) were made from "
            f"other audio, or another part of it, than task {listed.task.name} names now; run "
            f"svuprobe extract --task {task} --model {cache.header.model} again"
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
