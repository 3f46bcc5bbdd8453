"""GTZAN: which tracks the genre and beat tasks use, in which split, and where their beats come
from.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svuprobe.tasks import beat, find_clips, genre
from svuprobe.tasks.datasets import gtzan, split_lists
from svuprobe.tasks.kinds import beat_tracking as beats
from svuprobe.tasks.kinds.beats import BEATS as KIND
from svuprobe.tasks.types import Clip, Task, TaskError

LIST = split_lists.read("gtzan_fault_filtered.tsv")
ONE, TWO = "blues.00029", "rock.00015"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def audio(track: str, folder: str = "genres", suffix: str = ".wav") -> str:
    return f"{folder}/{track.split('.')[0]}/{track}{suffix}"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1,000 files of the official archive, empty."""
    names = (audio(f"{name}.{n:05d}", suffix=".au") for name in gtzan.GENRES for n in range(100))
    return touch(tmp_path_factory.mktemp("gtzan"), *names)


# -- tracks and splits -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", [genre.TASK, beat.TASK], ids=["genre", "beat"])
def test_of_1000_files_the_930_without_faults_are_used(whole: Path, task: Task) -> None:
    clips = find_clips(task, whole)
    assert (
        Counter(clip.split for clip in clips)
        == {"train": 443, "valid": 197, "test": 290}
        == task.expected
    )
    assert all(clip.path.endswith(f"{clip.id}.au") for clip in clips)


def test_genres_are_sorted_and_all_in_every_split(whole: Path) -> None:
    clips = genre.clips(whole)
    assert list(gtzan.GENRES) == sorted(gtzan.GENRES)
    assert genre.TASK.labels == gtzan.GENRES
    for split in gtzan.EXPECTED:
        assert {clip.target for clip in clips if clip.split == split} == set(gtzan.GENRES)
    assert all(clip.id.startswith(f"{clip.target}.") for clip in clips)


@pytest.mark.parametrize("folder", ["genres", "genres_original", "Data/genres_original"])
@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_the_archive_and_the_copy_on_kaggle_are_both_known(
    tmp_path: Path, folder: str, suffix: str
) -> None:
    touch(tmp_path, audio(ONE, folder, suffix))
    assert [clip.path for clip in genre.clips(tmp_path)] == [
        str(tmp_path / audio(ONE, folder, suffix))
    ]


def test_a_track_that_is_there_as_wav_and_au_is_one_clip(tmp_path: Path) -> None:
    touch(tmp_path, audio(ONE), audio(ONE, suffix=".au"))
    assert [clip.path for clip in find_clips(genre.TASK, tmp_path)] == [str(tmp_path / audio(ONE))]


def test_faulty_tracks_and_other_files_are_no_clips(tmp_path: Path) -> None:
    faulty = next(
        f"pop.{n:05d}" for n in range(100) if f"pop.{n:05d}" not in {row["track"] for row in LIST}
    )
    touch(
        tmp_path,
        audio(ONE),
        audio(faulty),
        "genres/blues/._blues.00030.wav",
        "genres/bextract_single.mf",
    )
    touch(tmp_path, "genres/rock/blues.00031.wav")
    assert [clip.id for clip in genre.clips(tmp_path)] == [ONE]


def test_the_track_that_kaggle_broke_stays_listed_where_its_file_exists(tmp_path: Path) -> None:
    touch(tmp_path, audio("jazz.00054", "genres_original"), audio(ONE, "genres_original"))
    assert {clip.id: clip.split for clip in genre.clips(tmp_path)} == {
        ONE: "train",
        "jazz.00054": "train",
    }


@pytest.mark.parametrize("task", [genre.TASK, beat.TASK], ids=["genre", "beat"])
def test_a_folder_that_is_not_gtzan_is_refused(tmp_path: Path, task: Task) -> None:
    with pytest.raises(
        TaskError,
        match=re.escape(f"{tmp_path}: no folder genres or genres_original in it; GTZAN is"),
    ):
        find_clips(task, tmp_path)
    (tmp_path / "genres").mkdir()
    with pytest.raises(TaskError, match="no clip of gtzan found in its official layout"):
        find_clips(task, tmp_path)


# Shortest, usual and longest file, 22.05 kHz.
@pytest.mark.parametrize("n_samples", [660_000, 661_794, 675_808])
def test_a_track_of_30_013_s_is_one_window(n_samples: int) -> None:
    assert len(gtzan.WINDOWING.spans(n_samples, 22050)) == 1
    assert genre.TASK.windowing == beat.TASK.windowing == gtzan.WINDOWING


def test_a_score_of_genre_counts_tracks() -> None:
    assert genre.TASK.scored == "clip"
    assert genre.TASK.metrics[0] == "accuracy"


# -- beats -----------------------------------------------------------------------------------------


def test_without_files_the_beats_are_those_of_gtzan_rhythm(whole: Path) -> None:
    clips = {clip.id: clip.target for clip in beat.clips(whole)}
    assert clips["blues.00000"][:3] == (0.217, 0.695, 1.173)
    assert sum(map(len, clips.values())) == 55618 - 33  # no window reaches 30 s
    assert max(max(times) for times in clips.values()) < 30
    assert min(map(len, clips.values())) >= 19
    assert all((np.diff(times) > 0).all() for times in clips.values())


def test_perfect_beats_of_every_genre_score_1(whole: Path) -> None:
    for clip in beat.clips(whole)[::40]:
        assert KIND.score(clip.target, np.array(clip.target)) == dict.fromkeys(beats.METRICS, 1.0)


def jams(*annotations: tuple[str, str | None, list[float]]) -> str:
    """A JAMS file with annotations of (namespace, annotation_type, times)."""
    made = [
        {
            "namespace": namespace,
            "sandbox": {} if kind is None else {"annotation_type": kind},
            "data": [{"time": t, "duration": 0.0, "value": 1.0, "confidence": None} for t in times],
        }
        for namespace, kind, times in annotations
    ]
    return json.dumps({"annotations": made, "file_metadata": {}, "sandbox": {}})


BEATS = "0.5\t1\n1.0\t2\n1.5\t3\n"
JAMS = jams(("tempo", None, [0.0]), ("beat", "downbeat", [0.5]), ("beat", "beat", [0.5, 1.0, 1.5]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("genres/blues/blues.00029.beats", BEATS),
        ("genres/blues/blues.00029.jams", JAMS),
        ("beats/blues.00029.beats", BEATS),
        ("beats/gtzan_blues_00029.beats", BEATS),
        ("jams/blues.00029.wav.jams", JAMS),
        ("rhythm/jams/blues.00029.wav.jams", JAMS),
        ("rhythm/blues.00029.au.jams", jams(("beat", None, [1.5, 0.5, 1.0]))),
        ("beats/blues.00029.beats", "# from an editor\n\n0.5, 1\n1.0, 2\n  1.5\n"),
    ],
)
def test_files_of_beats_come_before_the_list(tmp_path: Path, name: str, text: str) -> None:
    write(touch(tmp_path, audio(ONE)) / name, text)
    assert [clip.target for clip in find_clips(beat.TASK, tmp_path)] == [(0.5, 1.0, 1.5)]


def test_the_file_beside_the_audio_comes_first_and_beats_before_jams(tmp_path: Path) -> None:
    touch(tmp_path, audio(ONE))
    for seconds, name in enumerate(
        ["rhythm/blues.00029.beats", "beats/blues.00029.jams", "beats/gtzan_blues_00029.beats"],
        start=1,
    ):
        write(
            tmp_path / name,
            f"{seconds}" if name.endswith("beats") else jams(("beat", None, [seconds])),
        )
        assert beat.clips(tmp_path)[0].target == (float(seconds),)
    write(tmp_path / "genres/blues/blues.00029.jams", jams(("beat", None, [4])))
    assert beat.clips(tmp_path)[0].target == (4.0,)


def test_files_and_the_list_are_never_mixed(tmp_path: Path) -> None:
    write(touch(tmp_path, audio(ONE), audio(TWO)) / f"beats/{ONE}.beats", BEATS)
    with pytest.raises(TaskError) as error:
        beat.clips(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: files of beats for 1 tracks, but none for {TWO} (1 in all); add {TWO}.beats "
        f"in {tmp_path / 'beats'}, or move all of them away to use the list that ships"
    )
    write(tmp_path / f"jams/{TWO}.wav.jams", JAMS)
    assert [clip.target for clip in beat.clips(tmp_path)] == [(0.5, 1.0, 1.5)] * 2


def test_files_of_tracks_that_are_not_used_do_no_harm(tmp_path: Path) -> None:
    touch(tmp_path, audio(ONE))
    write(tmp_path / f"beats/{ONE}.beats", BEATS)
    write(tmp_path / "beats/reggae.00086.beats", "")
    write(tmp_path / "beats/._blues.00029.beats", "\x00\x05")
    write(tmp_path / "beats/README.md", "beats")
    assert [clip.id for clip in beat.clips(tmp_path)] == [ONE]


def test_beats_from_30_s_on_are_left_out(tmp_path: Path) -> None:
    write(touch(tmp_path, audio(ONE)) / f"beats/{ONE}.beats", "29.4\n29.99\n30.0\n30.521\n")
    assert beat.clips(tmp_path)[0].target == (29.4, 29.99)


@pytest.mark.parametrize(
    ("suffix", "text", "said"),
    [
        ("beats", "0.5\nx 1\n", ", line 2: 'x' is not a time in s; expected one beat a line"),
        ("beats", "", ": beats are finite times of 0 s or more, and at least one"),
        ("beats", "0.5\nnan\n", ": beats are finite times"),
        ("beats", "-0.5\n", ": beats are finite times"),
        ("jams", "{", ": not a JAMS file with annotations of beats"),
        ("jams", "[]", ": not a JAMS file with annotations of beats"),
        ("jams", '{"annotations": [3]}', ": not a JAMS file with annotations of beats"),
        (
            "jams",
            '{"annotations": [{"namespace": "beat"}]}',
            ": not a JAMS file with annotations of beats",
        ),
        ("jams", jams(("beat", "downbeat", [1.0])), ": no annotation of the namespace beat in it"),
        ("jams", jams(("beat", "beat", [])), ": beats are finite times"),
    ],
)
def test_a_malformed_file_of_beats_is_one_line_with_its_name(
    tmp_path: Path, suffix: str, text: str, said: str
) -> None:
    path = write(touch(tmp_path, audio(ONE)) / f"beats/{ONE}.{suffix}", text)
    with pytest.raises(TaskError) as error:
        beat.clips(tmp_path)
    assert str(error.value).startswith(f"{path}{said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("clips", [genre.clips, beat.clips], ids=["genre", "beat"])
def test_loaders_do_not_open_audio(
    tmp_path: Path, clips: Callable[[Path], list[Clip]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundfile, "SoundFile", None)
    monkeypatch.setattr(soundfile, "read", None)
    assert len(clips(touch(tmp_path, audio(ONE), audio(TWO)))) == 2
