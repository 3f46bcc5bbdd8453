"""Artist20's split goes by albums in byte order; VocalSet's harder singer split goes by
technique.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from svuprobe.probe.training.splits import majority_vote
from svuprobe.tasks import find_clips, singer, singer_artist20, singer_cross_technique
from svuprobe.tasks.datasets import vocalset
from svuprobe.tasks.kinds.metrics import accuracy
from svuprobe.tasks.manifest import labels_of
from svuprobe.tasks.synth.vocalset import _takes
from svuprobe.tasks.types import SPLITS, TaskError

ARTISTS = singer_artist20.TASK
CROSS = singer_cross_technique.TASK
# In byte order: digits, capitals, underscore, small letters, letters beyond ASCII.
ALBUMS = ("1984", "Zenyatta", "_Live", "amnesia", "boys", "École")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def discography(root: Path, artists: int = 20, suffix: str = ".mp3", songs: int = 2) -> Path:
    return touch(
        root,
        *(
            f"artist{a:02d}/{b}/{s:02d}-Song{suffix}"
            for a in range(artists)
            for b in ALBUMS
            for s in range(1, songs + 1)
        ),
    )


# Artist20


@pytest.mark.parametrize("between", ["", "mp3s-32k"])
@pytest.mark.parametrize("suffix", [".mp3", ".wav"])
def test_songs_are_found_as_distributed_and_as_separated_vocals(tmp_path, between, suffix):
    discography(tmp_path / between, suffix=suffix)
    clips = find_clips(ARTISTS, tmp_path)
    assert Counter(c.split for c in clips) == {"train": 160, "valid": 40, "test": 40}
    assert labels_of(ARTISTS, clips) == tuple(f"artist{a:02d}" for a in range(20))
    assert all(Path(c.path).is_file() for c in clips)
    assert clips[0].id == "artist00/1984/01-Song"


def test_albums_are_split_in_byte_order_not_as_people_sort(tmp_path):
    clips = find_clips(ARTISTS, discography(tmp_path, artists=2))
    split_of = {c.group.split("/")[1]: c.split for c in clips}
    assert list(split_of) == list(ALBUMS)
    assert split_of == dict(zip(ALBUMS, ("train",) * 4 + ("valid", "test"), strict=True))
    assert sorted(ALBUMS, key=str.lower) != list(ALBUMS)


def test_an_album_is_in_one_split_and_every_artist_in_all(tmp_path):
    clips = find_clips(ARTISTS, discography(tmp_path))
    for split in SPLITS:
        assert {c.target for c in clips if c.split == split} == {
            f"artist{a:02d}" for a in range(20)
        }
    assert ARTISTS.disjoint_groups
    assert len({c.group for c in clips}) == 120
    assert len({(c.group, c.split) for c in clips}) == 120


@pytest.mark.parametrize("change", ["one album less", "an album without songs", "one album more"])
def test_another_number_of_albums_than_six_is_refused(tmp_path, change):
    discography(tmp_path, artists=2, songs=1)
    album = tmp_path / "artist01" / "boys"
    if change == "one album more":
        touch(tmp_path, "artist01/zz/01-Song.mp3")
    else:
        (album / "01-Song.mp3").unlink()
    if change == "one album less":
        album.rmdir()
    with pytest.raises(
        TaskError, match=rf"artist01: {7 if 'more' in change else 5} albums with songs in them"
    ):
        find_clips(ARTISTS, tmp_path)


def test_mixes_and_vocals_in_one_tree_are_refused(tmp_path):
    touch(discography(tmp_path, artists=1), "artist00/boys/01-Song.wav")
    with pytest.raises(TaskError, match=r"both \.mp3 and \.wav in it"):
        find_clips(ARTISTS, tmp_path)


def test_lists_features_and_junk_are_not_songs(tmp_path):
    expected = [c.id for c in find_clips(ARTISTS, discography(tmp_path, artists=1))]
    junk = (
        "all.list",
        "mfccs/artist00/boys/01-Song.htk",
        "artist00/cover.jpg",
        "artist00/boys/._01-Song.mp3",
    )
    assert [c.id for c in find_clips(ARTISTS, touch(tmp_path, *junk))] == expected


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(TaskError, match="no clip of artist20 found in its official layout"):
        find_clips(ARTISTS, tmp_path)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(9.99, 1), (10.0, 2), (10.5, 2), (14.9, 2), (15.0, 3)]
)
def test_only_an_incomplete_tail_is_dropped(seconds, windows):
    assert len(ARTISTS.windowing.spans(round(seconds * 16000), 16000)) == windows


def test_windows_are_scored_by_macro_f1_and_the_quiet_ones_dropped():
    assert (ARTISTS.scored, ARTISTS.metrics[0], ARTISTS.windowing.min_rms) == (
        "window",
        "macro_f1",
        0.01,
    )
    assert {"accuracy", "top2", "top3"} < set(ARTISTS.metrics)


def test_a_song_is_its_windows_majority_and_ties_go_to_the_first_class():
    logits = np.log(
        np.array(
            [
                [0.4, 0.3, 0.3],
                [0.4, 0.3, 0.3],
                [0.0001, 0.0001, 0.9998],
                [0.1, 0.2, 0.7],
                [0.1, 0.7, 0.2],
            ]
        )
    )
    votes = majority_vote(logits, np.array([0, 0, 0, 1, 1]))
    assert votes.tolist() == [[2, 0, 1], [0, 1, 1]]
    # The mean of the logits would take class 2 for the
    # first song: one very sure window outweighs two.
    assert logits[:3].mean(axis=0).argmax() != votes[0].argmax()
    value = accuracy(np.array([0, 1]), votes, np.arange(2), np.ones((1, 2)))
    assert value == [1.0]
    assert majority_vote(np.stack([logits, logits]), np.array([0, 0, 0, 1, 1])).shape == (2, 2, 3)


# VocalSet, unseen techniques


@pytest.fixture(scope="module")
def vocalset_tree(tmp_path_factory):
    names = (
        f"FULL/{s}/scales/{t}/{s}_{t}_a.wav" for s in vocalset.SINGERS for t in vocalset.TECHNIQUES
    )
    return touch(tmp_path_factory.mktemp("vocalset"), *names)


def test_no_technique_of_training_is_tested(vocalset_tree):
    clips = find_clips(CROSS, vocalset_tree)
    assert len(clips) == 20 * 17
    techniques = {
        split: {c.group.split("/")[1] for c in clips if c.split == split} for split in SPLITS
    }
    assert [len(techniques[split]) for split in SPLITS] == [10, 3, 4]
    assert set.union(*techniques.values()) == set(vocalset.TECHNIQUES)
    assert techniques["test"] == {"inhaled", "spoken", "trillo", "vocal_fry"}
    assert techniques["valid"] == {"breathy", "lip_trill", "trill"}
    assert {t for t in techniques["train"] if "forte" in t or "piano" in t} == {
        *("fast_forte", "fast_piano", "forte", "slow_forte", "slow_piano")
    }


def test_every_split_asks_for_all_twenty_singers(vocalset_tree):
    clips = find_clips(CROSS, vocalset_tree)
    assert CROSS.labels == tuple(sorted(vocalset.SINGERS))
    for split in SPLITS:
        assert {c.target for c in clips if c.split == split} == set(vocalset.SINGERS)


def test_it_has_the_recordings_and_the_windows_of_the_easier_task(vocalset_tree):
    easy, hard = (find_clips(task, vocalset_tree) for task in (singer.TASK, CROSS))
    assert [(c.id, c.path, c.target) for c in easy] == [(c.id, c.path, c.target) for c in hard]
    assert (CROSS.dataset, CROSS.windowing) == (singer.TASK.dataset, singer.TASK.windowing)


@pytest.mark.parametrize("clips", [133, 400])
def test_the_synthetic_copy_has_every_singer_in_every_split(clips):
    takes = islice(_takes(), clips)
    found = {(singer_cross_technique.split_of(technique), name) for name, technique, *_ in takes}
    assert found == {(split, name) for split in SPLITS for name in vocalset.SINGERS}
