"""EmoMusic: files are matched by number, targets and split are the official list's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from svuprobe.tasks import emotion, find_clips, kinds
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.kinds.regression import REGRESSION
from svuprobe.tasks.types import SPLITS, TaskError

TASK = emotion.TASK
ROWS = split_lists.read("emomusic.tsv")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All 1,000 files of the distribution, of which the list names 744."""
    return touch(
        tmp_path_factory.mktemp("emomusic"), *(f"clips_45seconds/{n}.mp3" for n in range(1, 1001))
    )


def test_all_official_songs_give_the_official_counts(whole):
    clips = find_clips(TASK, whole)
    assert (
        Counter(c.split for c in clips)
        == TASK.expected
        == {"train": 504, "valid": 115, "test": 125}
    )
    assert TASK.hours == pytest.approx(len(clips) * 45 / 3600, abs=0.05)
    assert [c.id for c in clips] == [row["song_id"] for row in ROWS]


def test_ids_without_leading_zeros_are_matched_by_number(whole):
    clips = {c.id: c for c in find_clips(TASK, whole)}
    assert Path(clips["0002"].path).name == "2.mp3"
    assert Path(clips["1000"].path).name == "1000.mp3"
    assert "0001" not in clips  # not one of the 744
    assert all(int(Path(c.path).stem) == int(c.id) for c in clips.values())


@pytest.mark.parametrize(
    "name",
    [
        "clips_45seconds/2.mp3",
        "clips_45seconds/0002.mp3",
        "clips_45seconds/2.wav",
        "wav/0002.wav",
        "wav/2.WAV",
    ],
)
def test_layouts_and_names(tmp_path, name):
    (clip,) = find_clips(TASK, touch(tmp_path, name))
    assert (clip.id, clip.path, clip.split, clip.group) == (
        "0002",
        str(tmp_path / name),
        "valid",
        "0002",
    )


def test_the_distributed_file_is_preferred_and_a_song_comes_once(tmp_path):
    touch(tmp_path, "wav/0002.wav", "clips_45seconds/2.wav", "clips_45seconds/2.mp3")
    assert [Path(c.path).name for c in find_clips(TASK, tmp_path)] == ["2.mp3"]


def test_absent_songs_and_other_files_are_left_out(tmp_path):
    touch(
        tmp_path,
        *(
            f"clips_45seconds/{name}"
            for name in ("3.mp3", "._4.mp3", "5.txt", "notes.mp3", "7.mp3.part")
        ),
    )
    assert [c.id for c in find_clips(TASK, tmp_path)] == ["0003"]


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(TaskError, match="no folder clips_45seconds in it"):
        find_clips(TASK, tmp_path)
    (tmp_path / "clips_45seconds").mkdir()
    with pytest.raises(TaskError, match="no clip of emomusic found"):
        find_clips(TASK, tmp_path)


def test_targets_are_arousal_then_valence_standardised_without_the_test_set(whole):
    clips = find_clips(TASK, whole)
    assert TASK.labels == ("arousal", "valence")
    by_id = {row["song_id"]: row for row in ROWS}
    values = kinds.of(TASK).encode(TASK, TASK.labels, clips)
    assert values.shape == (744, 2)
    assert all(
        c.target == (float(by_id[c.id]["arousal"]), float(by_id[c.id]["valence"])) for c in clips
    )
    seen = values[[c.split != "test" for c in clips]]
    assert np.abs(seen.mean(axis=0)).max() < 1e-4
    assert np.abs(seen.std(axis=0) - 1).max() < 1e-3


def test_r2_of_each_target_and_their_mean(whole):
    target = kinds.of(TASK).encode(TASK, TASK.labels, find_clips(TASK, whole))
    # Valence: the mean.
    output = np.stack([target[:, 0], np.full(len(target), target[:, 1].mean())], axis=1)
    group, once = np.arange(len(target)), np.ones((1, len(target)))
    scores = [
        float(REGRESSION.metric(name, TASK.labels)(target, output, group, once)[0])
        for name in TASK.metrics
    ]
    assert scores == pytest.approx([0.5, 1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
@pytest.mark.parametrize("seconds", [44.2, 44.99, 45.0, 45.03, 45.9])
def test_45_seconds_are_nine_windows_whatever_the_mp3_adds(seconds, rate):
    assert len(TASK.windowing.spans(round(seconds * rate), rate)) == 9


def test_every_song_is_in_one_split():
    assert len({row["song_id"] for row in ROWS}) == len(ROWS) == 744
    assert {row["split"] for row in ROWS} == set(SPLITS)
    assert TASK.disjoint_groups
