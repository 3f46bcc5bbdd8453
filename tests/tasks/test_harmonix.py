"""The Harmonix Set: labels become seven classes, songs of an artist are in one fold."""

import csv
import io
import re

import numpy as np
import pytest

from svuprobe.tasks import find_clips, folds, structure
from svuprobe.tasks.types import TaskError

TASK = structure.TASK
SONG = "0.0 intro\n8.5 verse2\n25.5 prechorus\n30 postchorus\n42.5 gtr\n60 end\n"


def put(root, songs, text=SONG, suffix=".mp3"):
    """Write songs (name, artist) with audio that nobody opens."""
    sheet = io.StringIO()
    rows = csv.writer(sheet)
    rows.writerow(["File", "Title", "Artist", "Release", "Duration"])
    for folder in ("dataset/segments", "audio"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, artist in songs:
        rows.writerow([name, "a title, with a comma", artist, "", "61.5"])
        (root / "dataset" / "segments" / f"{name}.txt").write_text(text)
        (root / "audio" / f"{name}{suffix}").touch()
    (root / structure.METADATA).write_text(sheet.getvalue(), encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("label", "function"),
    [
        ("verse", "verse"),
        ("prechorus2", "verse"),
        ("Chorus", "chorus"),
        ("instchorus", "chorus"),
        ("introchorus", "chorus"),
        ("stutter", "chorus"),
        ("fadein", "intro"),
        ("vocaloutro", "outro"),
        ("transition", "bridge"),
        ("breakdown", "inst"),
        ("guitarsolo", "inst"),
        ("mainriff", "inst"),
        ("silence", "silence"),
        ("section17", "verse"),
    ],
)
def test_labels_have_the_classes_of_wang_et_al(label, function):
    assert structure.function_of(label) == function


def test_sections_reach_to_the_next_and_the_last_to_the_end(tmp_path):
    (clip,) = structure.clips(put(tmp_path, [("0001_song", "A")]))
    assert clip.target == (
        (0.0, 8.5, "intro"),
        (8.5, 25.5, "verse"),
        (25.5, 30.0, "verse"),
        (30.0, 42.5, "chorus"),
        (42.5, 60.0, "inst"),
    )


def test_a_file_without_an_end_lasts_as_long_as_the_song(tmp_path):
    put(tmp_path, [("0001_song", "A")], "0 verse\n20\tend\n25 outro\n", ".flac")
    (clip,) = structure.clips(tmp_path)
    # An end in the middle is no section: the silence after it has no label.
    assert clip.target == ((0.0, 20.0, "verse"), (25.0, 61.5, "outro"))


def test_artists_are_in_one_fold_and_songs_that_are_absent_change_none(tmp_path):
    songs = [(f"{n:04d}_song", f"Artist {n % 20}".upper() if n % 2 else f"artist {n % 20}")
             for n in range(60)]  # fmt: skip
    put(tmp_path, songs)
    clips = find_clips(TASK, tmp_path)
    assert folds.names(clips) == tuple("12345678")
    assert len({clip.group for clip in clips}) == 20
    before = {clip.id: clip.fold for clip in clips}
    for name, _ in songs[::3]:
        (tmp_path / "audio" / f"{name}.mp3").unlink()
    rest = find_clips(TASK, tmp_path)
    assert len(rest) == 40
    assert all(before[clip.id] == clip.fold for clip in rest)


def test_folds_of_groups_are_even_and_the_same_in_any_order():
    groups = [f"g{n}" for n in range(30) for _ in range(1 + n % 5)]
    fold_of = folds.of_groups(groups, 8)
    sizes = np.bincount([fold_of[group] for group in groups])[1:]
    assert sizes.sum() == len(groups)
    assert sizes.max() - sizes.min() <= 1
    assert folds.of_groups(groups[::-1], 8) == fold_of
    assert sorted(folds.of_groups(["a", "b"], 8).values()) == [1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 verse\n20\n", ":2: '20' is not a time in s and a label"),
        ("zero verse\n", ":1: 'zero verse' is not a time in s and a label"),
        ("0 verse\n20 end\n10 end\n", ":3: 10 s is not after the section before it"),
        ("nan verse\n", ":1: nan s is not after"),
    ],
)
def test_a_line_that_can_t_be_is_named(tmp_path, text, said):
    put(tmp_path, [("0001_song", "A")], text)
    with pytest.raises(TaskError, match=re.escape(f"0001_song.txt{said}")):
        structure.clips(tmp_path)


def test_what_is_absent_or_of_another_form_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"metadata\.csv: no such file; it comes with the Harmonix"):
        structure.clips(tmp_path)
    put(tmp_path, [("0001_song", "A")])
    (tmp_path / "dataset" / "segments" / "0001_song.txt").unlink()
    with pytest.raises(TaskError, match=r"0001_song\.txt: no such file"):
        structure.clips(tmp_path)
    (tmp_path / structure.METADATA).write_text("File,Artist\n0001_song,A\n")
    with pytest.raises(TaskError, match="not the Harmonix Set's columns File, Artist, Duration"):
        structure.clips(tmp_path)
