"""MTG-Jamendo: its lists as published, its two kinds of audio, and four tasks on the same
windows.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from svuprobe.tasks import find_clips, mtg_jamendo as tasks_of_mtg
from svuprobe.tasks.datasets import mtg_jamendo
from svuprobe.tasks.manifest import labels_of
from svuprobe.tasks.types import Clip, TaskError

TASKS = {
    task.name: task
    for task in (
        tasks_of_mtg.GENRE,
        tasks_of_mtg.INSTRUMENT,
        tasks_of_mtg.MOODTHEME,
        tasks_of_mtg.TOP50,
    )
}
GENRE, INSTRUMENT, MOODTHEME, TOP50 = TASKS.values()
CLONE = "mtg-jamendo-dataset/data/splits/split-0"
# Number of the track, artist, split, tags.
TRACKS = (
    (382, 20, "train", ("genre---rock", "instrument---voice", "mood/theme---sad")),
    (1376256, 20, "train", ("genre---easylistening", "instrument---piano", "genre---60s")),
    (700, 21, "validation", ("genre---60s", "genre---rock", "mood/theme---sad")),
    (1009, 22, "test", ("instrument---voice", "genre---rock")),
)


def line(number: int, artist: int, tags: tuple[str, ...]) -> str:
    path = f"{number % 100:02d}/{number}.mp3"
    return "\t".join(
        (f"track_{number:07d}", f"artist_{artist:06d}", "album_000001", path, "211.1", *tags)
    )


def clone(root: Path, end: str = "\r\n", under: str = CLONE, tracks: tuple = TRACKS) -> Path:
    """Lists of split-0 with the given line ends, without audio."""
    (root / under).mkdir(parents=True)
    for subset, prefix in mtg_jamendo.SUBSETS.items():
        for name in mtg_jamendo.SPLIT_NAMES:
            own = [
                (n, a, tuple(t for t in tags if t.startswith(prefix)))
                for n, a, s, tags in tracks
                if s == name
            ]
            lines = ["\t".join(mtg_jamendo.HEADER), *(line(*row) for row in own if row[2])]
            body = "".join(text + end for text in lines)
            (root / under / f"autotagging_{subset}-{name}.tsv").write_bytes(body.encode())
    return root


def audio(
    root: Path, folder: str = "audio-low", suffix: str = ".low.mp3", numbers: tuple = ()
) -> Path:
    for number in numbers or [track[0] for track in TRACKS]:
        path = root / folder / f"{number % 100:02d}" / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


# The lists


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_line_ends_never_become_part_of_a_tag(tmp_path, end):
    root = audio(clone(tmp_path, end))
    clips = find_clips(GENRE, root)
    assert labels_of(GENRE, clips) == ("60s", "easylistening", "rock")
    assert clips[0] == Clip(
        "track_0000382",
        str(root / "audio-low/82/382.low.mp3"),
        "train",
        ("rock",),
        group="artist_000020",
    )
    assert [(clip.id, clip.split, clip.target) for clip in clips[1:]] == [
        ("track_1376256", "train", ("60s", "easylistening")),
        ("track_0000700", "valid", ("60s", "rock")),
        ("track_0001009", "test", ("rock",)),
    ]


def test_a_track_is_in_the_tasks_that_it_has_tags_for(tmp_path):
    root = audio(clone(tmp_path))
    found = {
        name: [int(clip.id[6:]) for clip in find_clips(task, root)] for name, task in TASKS.items()
    }
    assert found == {
        "mtg-genre": [382, 1376256, 700, 1009],
        "mtg-instrument": [382, 1376256, 1009],
        "mtg-moodtheme": [382, 700],
        "mtg-top50": [382, 1376256, 700, 1009],
    }


def test_a_category_drops_its_prefix_and_the_top_50_keep_theirs(tmp_path):
    root = audio(clone(tmp_path))
    assert labels_of(INSTRUMENT, find_clips(INSTRUMENT, root)) == ("piano", "voice")
    assert labels_of(MOODTHEME, find_clips(MOODTHEME, root)) == ("sad",)
    labels = labels_of(TOP50, find_clips(TOP50, root))
    assert labels[:2] == ("genre---60s", "genre---easylistening")
    assert list(labels) == sorted(labels)
    assert "mood/theme---sad" in labels


def test_labels_are_sorted_whatever_comes_first(tmp_path):
    labels = [
        labels_of(GENRE, find_clips(GENRE, audio(clone(tmp_path / str(n), tracks=order))))
        for n, order in enumerate((TRACKS, TRACKS[::-1]))
    ]
    assert labels[0] == labels[1] == ("60s", "easylistening", "rock")


def test_the_data_of_the_repository_may_lie_in_the_folder_itself(tmp_path):
    there = find_clips(GENRE, audio(clone(tmp_path / "a", under="data/splits/split-0")))
    assert [clip.id for clip in there] == [
        clip.id for clip in find_clips(GENRE, audio(clone(tmp_path / "b")))
    ]


def test_an_artist_in_two_splits_is_refused(tmp_path):
    root = audio(clone(tmp_path, tracks=(*TRACKS[:3], (1009, 21, *TRACKS[3][2:]))))
    with pytest.raises(TaskError, match="group 'artist_000021' is in both valid and test"):
        find_clips(GENRE, root)


@pytest.mark.parametrize("name", TASKS)
def test_the_official_numbers_add_up(name):
    """Tracks per subset as the dataset's README counts them, less those whose tags the splits leave
    out.
    """
    tracks = {
        "mtg-genre": 55094,
        "mtg-instrument": 24976,
        "mtg-moodtheme": 17982,
        "mtg-top50": 54380,
    }
    assert sum(TASKS[name].expected.values()) == tracks[name]
    assert list(TASKS[name].expected) == ["train", "valid", "test"]


# The audio


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [("audio-low", ".low.mp3"), ("audio-low", ".low.wav"), ("audio", ".mp3"), ("audio", ".wav")],
)
def test_audio_is_found_in_low_and_full_quality(tmp_path, folder, suffix):
    clips = find_clips(GENRE, audio(clone(tmp_path), folder, suffix))
    assert len(clips) == 4
    assert clips[0].path == str(tmp_path / folder / f"82/382{suffix}")


def test_low_and_full_quality_are_never_mixed(tmp_path):
    root = audio(audio(clone(tmp_path), "audio", ".mp3"), "audio-low", ".low.mp3", (382, 700))
    assert [clip.id for clip in find_clips(GENRE, root)] == ["track_0000382", "track_0000700"]


def test_tracks_without_audio_are_left_out(tmp_path):
    root = audio(clone(tmp_path), numbers=(1009, 4711))
    assert [clip.id for clip in find_clips(GENRE, root)] == ["track_0001009"]
    with pytest.raises(TaskError, match="no clip of mtg-jamendo found in its official layout"):
        find_clips(MOODTHEME, root)


# One cache


def test_one_cache_serves_all_four(tmp_path):
    root = audio(clone(tmp_path))
    assert len({(task.dataset, task.windowing, task.kind) for task in TASKS.values()}) == 1
    everywhere = [
        {clip.id: (clip.path, clip.start, clip.end) for clip in task.clips(root)}
        for task in TASKS.values()
    ]
    for one, other in pairwise(everywhere):
        assert all(one[clip] == other[clip] for clip in one.keys() & other.keys())


@pytest.mark.parametrize(
    ("seconds", "windows"), [(30.0, 1), (30.9, 1), (31.0, 2), (244.0, 9), (240.9, 8)]
)
def test_windows_cover_the_whole_track(seconds, windows):
    assert len(GENRE.windowing.spans(round(seconds * 24000), 24000)) == windows


# What a user may lack


def test_without_the_repository_the_next_command_is_said(tmp_path):
    with pytest.raises(TaskError) as error:
        find_clips(GENRE, audio(tmp_path))
    command = f"git clone {mtg_jamendo.REPOSITORY} {tmp_path / 'mtg-jamendo-dataset'}"
    assert str(error.value) == f"{tmp_path / CLONE}: no such folder; {command}"


def test_without_audio_the_folder_is_named(tmp_path):
    with pytest.raises(TaskError, match="no folder audio-low or audio in it") as error:
        find_clips(GENRE, clone(tmp_path))
    assert str(error.value).startswith(str(tmp_path))


def test_a_list_that_is_missing_is_named(tmp_path):
    path = audio(clone(tmp_path)) / CLONE / "autotagging_genre-test.tsv"
    path.unlink()
    with pytest.raises(TaskError) as error:
        find_clips(GENRE, tmp_path)
    assert str(error.value).startswith(f"{path}: no such file")
    assert len(find_clips(MOODTHEME, tmp_path)) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin with the columns TRACK_ID ARTIST_ID"),
        (b"version https://git-lfs.github.com/spec/v1\n", "does not begin with the columns"),
        (b"\xff\xfe", "does not begin with the columns"),
        (
            "\t".join(mtg_jamendo.HEADER).encode() + b"\r\ntrack_1\tartist_1\r\n",
            "line 2 is not a track with tags",
        ),
        (
            f"{chr(9).join(mtg_jamendo.HEADER)}\n{line(1, 2, ())}\n".encode(),
            "line 2 is not a track with tags genre",
        ),
        (
            (
                f"{chr(9).join(mtg_jamendo.HEADER)}\n{line(1, 2, ('genre---a',))}\n"
                f"{line(2, 2, ('b',))}\n"
            ).encode(),
            "line 3 is not a track with tags genre---... from the sixth column on",
        ),
    ],
)
def test_a_malformed_list_is_one_line(tmp_path, content, said):
    path = audio(clone(tmp_path)) / CLONE / "autotagging_genre-train.tsv"
    path.write_bytes(content)
    with pytest.raises(TaskError) as error:
        find_clips(GENRE, tmp_path)
    assert str(error.value).startswith(f"{path}: {said}")
    assert "\n" not in str(error.value)
