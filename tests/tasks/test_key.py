"""GiantSteps key: the songs of two collections, their splits, and a score that is mir_eval's."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import mir_eval
import numpy as np
import pytest

from svuprobe.tasks import find_clips, key
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.kinds.metrics import mean_of
from svuprobe.tasks.types import SPLITS, TaskError

LIST = split_lists.read("giantsteps_key.tsv")
MTG, TEST = "giantsteps-mtg-key-dataset", "giantsteps-key-dataset"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def official(row: dict[str, str]) -> str:
    """Path of a song as the two repositories' download scripts write it."""
    test = row["split"] == "test"
    return f"{TEST if test else MTG}/audio/{row['beatport_id'].zfill(7 if test else 1)}.LOFI.mp3"


# -- songs -----------------------------------------------------------------------------------------


def test_every_song_of_the_list_is_found_where_the_scripts_put_it(tmp_path: Path) -> None:
    clips = find_clips(key.TASK, touch(tmp_path, *map(official, LIST)))
    assert (
        Counter(clip.split for clip in clips)
        == {"train": 923, "valid": 236, "test": 604}
        == key.TASK.expected
    )
    for split in SPLITS:
        assert {clip.target for clip in clips if clip.split == split} == set(key.LABELS)
    assert [clip.id for clip in clips] == [row["beatport_id"] for row in LIST]


def test_labels_are_24_keys_with_flats_sorted_by_name() -> None:
    assert len(key.LABELS) == 24
    assert list(key.LABELS) == sorted(key.LABELS)
    assert {row["key"] for row in LIST} == set(key.LABELS)
    assert not any("#" in label for label in key.LABELS)
    assert key.TASK.labels == key.LABELS


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"{TEST}/audio/0010089.LOFI.mp3", True),
        (f"{TEST}/audio/10089.LOFI.mp3", True),
        (f"{TEST}-master/audio/0010089.LOFI.mp3", True),
        (f"{TEST}-c8cb8aad2cb53f165be51ea099d0dc75c64a844f/audio/10089.LOFI.wav", True),
        ("audio/10089.LOFI.mp3", True),
        ("audio/10089.flac", True),
        (f"{MTG}/audio/10089.LOFI.mp3", False),  # a test song
        (f"{TEST}/audio/._10089.LOFI.mp3", False),
        (f"{TEST}/audio/10089.LOFI.mp3.part", False),
        (f"{TEST}/md5/10089.LOFI.mp3", False),
        (f"{TEST}/audio/110089.LOFI.mp3", False),
        ("10089.LOFI.mp3", False),
    ],
)
def test_names_and_folders_that_hold_a_song(tmp_path: Path, name: str, found: bool) -> None:
    touch(tmp_path, f"{MTG}/audio/5061.LOFI.mp3", name)
    songs = {
        clip.id: (clip.path, clip.split, clip.target) for clip in find_clips(key.TASK, tmp_path)
    }
    assert songs.pop("5061") == (str(tmp_path / MTG / "audio/5061.LOFI.mp3"), "train", "Eb minor")
    assert songs == ({"10089": (str(tmp_path / name), "test", "D major")} if found else {})


def test_the_original_mp3_comes_before_a_conversion(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"{TEST}/audio/0010089.LOFI.{s}" for s in ("flac", "mp3", "wav")),
        "audio/10089.LOFI.mp3",
    )
    assert [clip.path for clip in key.clips(tmp_path)] == [
        str(tmp_path / TEST / "audio/0010089.LOFI.mp3")
    ]


def test_a_folder_without_songs_is_refused_with_the_layout(tmp_path: Path) -> None:
    (tmp_path / TEST / "audio").mkdir(parents=True)
    with pytest.raises(TaskError) as error:
        find_clips(key.TASK, tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no <id>.LOFI.mp3 in {MTG}/audio, {TEST}/audio or audio; "
        "clone the two repositories there and run their audio_dl.sh"
    )
    touch(tmp_path, "audio/1.LOFI.mp3")
    with pytest.raises(TaskError, match="no clip of giantsteps found in its official layout"):
        find_clips(key.TASK, tmp_path)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(120.0, 4), (119.9, 3), (135.0, 4), (20.0, 1), (30.0, 1)]
)
def test_a_preview_is_cut_into_whole_windows_of_30_s(seconds: float, windows: int) -> None:
    for rate in (16000, 44100):
        assert len(key.TASK.windowing.spans(round(seconds * rate), rate)) == windows
    assert key.TASK.scored == "clip"


# -- score -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "estimate", "score"),
    [
        ("C major", "C major", 1.0),
        ("C major", "G major", 0.5),
        ("G major", "C major", 0.0),  # a fifth below: order matters
        ("A minor", "E minor", 0.5),
        ("E minor", "A minor", 0.0),
        ("C major", "A minor", 0.3),
        ("A minor", "C major", 0.3),
        ("Db major", "Bb minor", 0.3),
        ("Eb minor", "Eb major", 0.2),
        ("C major", "G minor", 0.0),
        ("C major", "Db major", 0.0),
        ("B major", "Gb major", 0.5),
    ],
)
def test_near_keys_earn_a_part(reference: str, estimate: str, score: float) -> None:
    assert key.relation(reference, estimate) == score


def test_every_pair_of_keys_scores_as_in_mir_eval() -> None:
    known = inspect.signature(mir_eval.key.weighted_score).parameters
    options = {"allow_descending_fifths": False} if "allow_descending_fifths" in known else {}
    for reference in key.LABELS:
        for estimate in key.LABELS:
            expected = mir_eval.key.weighted_score(reference, estimate, **options)
            assert key.relation(reference, estimate) == expected


def logits(*songs: str) -> np.ndarray:
    return np.eye(24)[[key.LABELS.index(song) for song in songs]]


def classes(*songs: str) -> np.ndarray:
    return np.array([key.LABELS.index(song) for song in songs])


def test_the_score_is_a_mean_over_songs_with_the_truth_first() -> None:
    target = classes("C major", "G major", "A minor", "F minor")
    output = logits("G major", "C major", "C major", "F minor")
    everyone = np.ones((1, 4))
    assert key.weighted_score(target, output, np.arange(4), everyone) == pytest.approx(
        [(0.5 + 0 + 0.3 + 1) / 4]
    )
    assert key.weighted_score(
        target, logits(*(key.LABELS[t] for t in target)), np.arange(4), everyone
    ) == [1.0]


def test_the_score_of_a_resampling_is_that_of_the_songs_drawn() -> None:
    rng = np.random.default_rng(0)
    target, output, group = rng.integers(0, 24, 50), rng.normal(size=(50, 24)), np.arange(50) // 2
    counts = rng.multinomial(25, np.full(25, 1 / 25), size=10)
    single = [
        key.relation(key.LABELS[t], key.LABELS[o])
        for t, o in zip(target, output.argmax(1), strict=True)
    ]
    drawn = [np.repeat(single, row[group]).mean() for row in counts]
    assert key.weighted_score(target, output, group, counts) == pytest.approx(drawn)
    assert key.weighted_score(target, output, group, counts) == pytest.approx(
        mean_of(np.array(single), group, counts)
    )
