"""Beat tracking on GTZAN: the beats of GTZAN-Rhythm (Marchand et al. 2015), fault-filtered split
(Ma et al. 2023).

Beats come from files in the dataset's folder if there are any, else from the list that ships
(GTZAN-Rhythm as distributed with "Beat this!", Foscarin et al. 2024). Never from both: with files,
every track needs one. They are looked for beside the audio, then in ``beats``, ``jams``, ``rhythm``
and ``rhythm/jams`` (in this order, and in a folder ``.beats`` before ``.jams``), under the names
they are distributed with: ``blues.00000.beats``, ``gtzan_blues_00000.beats``, ``blues.00000.jams``,
``blues.00000.wav.jams``. A line of a ``.beats`` file is a time in s and, if one likes, the beat's
place in the bar. A ``.jams`` file is read as JSON: the first annotation of the namespace ``beat``
that is not of downbeats.

What differs from MARBLE and Ma et al.:

- Training sees whole tracks, not a random 10 s of each per epoch.
- A track is one window of 30 s, so beats from 30 s on (33 of 55,618 in the list) are left out: no
  output could find them. MARBLE's labels end there too.
- Scores are means over tracks, the first 5 s skipped, within 70 ms; also within 20 ms, as Ma et al.
  write. MARBLE's code pools the beats of all tracks, which favours fast ones, and skips nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from svuprobe.tasks.datasets import gtzan, split_lists
from svuprobe.tasks.kinds.beat_tracking import METRICS
from svuprobe.tasks.types import Clip, Task, TaskError

FOLDERS = ("beats", "jams", "rhythm", "rhythm/jams")
END_S = 30.0  # of the only window of a track
_NAME = re.compile(
    rf"(?:gtzan_)?({'|'.join(gtzan.GENRES)})[._](\d{{5}})(?:\.wav|\.au)?\.(?:beats|jams)"
)


def clips(root: Path) -> list[Clip]:
    """Return every track with its beats before 30 s; the group is the track."""
    tracks = gtzan.tracks(root)
    files = beat_files(root, tracks)
    if files:
        times = {track.id: read_beats(files[track.id]) for track in tracks}
    else:
        rows = split_lists.read("gtzan_rhythm_beats.tsv")
        times = {row["track"]: tuple(map(float, row["beats_s"].split())) for row in rows}
    found = []
    for track in tracks:
        beats = tuple(time for time in times[track.id] if time < END_S)
        found.append(Clip(track.id, str(track.path), track.split, target=beats, group=track.id))
    return found


def beat_files(root: Path, tracks: Sequence[gtzan.Track]) -> dict[str, Path]:
    """Find the file of beats of each track in the dataset's folder; none where there is none at
    all.

    Raises TaskError where some tracks have one and others not.
    """
    found: dict[str, Path] = {}
    beside_audio = [track.path.parent for track in tracks]
    for folder in dict.fromkeys([*beside_audio, *(root / name for name in FOLDERS)]):
        # The first that is found counts: folders in their order, .beats before .jams.
        for path in sorted(folder.glob("*.*"), key=lambda p: (p.suffix, p.name)):
            if match := _NAME.fullmatch(path.name):
                found.setdefault(".".join(match.groups()), path)
    missing = [t.id for t in tracks if t.id not in found]
    if found and missing:
        raise TaskError(
            f"{root}: files of beats for {len(found)} tracks, but none for {missing[0]} "
            f"({len(missing)} in all); add {missing[0]}.beats in {root / 'beats'}, or move all of "
            "them away to use the list that ships"
        )
    return found


def read_beats(path: Path) -> tuple[float, ...]:
    """Read the times of a ``.beats`` or ``.jams`` file: ascending, in s."""
    text = path.read_text(encoding="utf-8", errors="replace")
    times = tuple(sorted(_of_jams(path, text) if path.suffix == ".jams" else _of_lines(path, text)))
    if not times or not all(math.isfinite(time) and time >= 0 for time in times):
        raise TaskError(
            f"{path}: beats are finite times of 0 s or more, and at least one; correct or remove "
            "the file"
        )
    return times


def _of_lines(path: Path, text: str) -> Iterable[float]:
    for number, line in enumerate(text.splitlines(), start=1):
        # The second column, the place in the bar, is not needed.
        fields = line.split("#")[0].replace(",", " ").split()
        try:
            yield from map(float, fields[:1])
        except ValueError:
            raise TaskError(
                f"{path}, line {number}: {fields[0]!r} is not a time in s; expected one beat a line"
            ) from None


def _of_jams(path: Path, text: str) -> list[float]:
    try:
        for annotation in json.loads(text)["annotations"]:
            downbeats = (annotation.get("sandbox") or {}).get("annotation_type") == "downbeat"
            if annotation["namespace"] == "beat" and not downbeats:
                return [float(beat["time"]) for beat in annotation["data"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TaskError(f"{path}: not a JAMS file with annotations of beats ({error!r})") from None
    raise TaskError(
        f"{path}: no annotation of the namespace beat in it; expected GTZAN-Rhythm's .jams"
    )


TASK = Task(
    name="beat",
    dataset=gtzan.DATASET,
    kind="beats",
    metrics=METRICS,
    clips=clips,
    windowing=gtzan.WINDOWING,
    licence=gtzan.LICENCE,
    reference=f"{gtzan.REFERENCE}; beats: Marchand, Fresnel & Peeters 2015, GTZAN-Rhythm",
    expected=gtzan.EXPECTED,
    hours=gtzan.HOURS,
)
