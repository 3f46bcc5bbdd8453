"""Audio that is named by file, folder or pattern, and where its files go."""

from pathlib import Path

import pytest

from svuprobe.api.audio_files import audio_files
from svuprobe.api.prediction import _Names
from svuprobe.extractors.base import ExtractError


@pytest.fixture
def songs(tmp_path):
    for name in ("one/take.wav", "two/take.wav", "two/deep/other.FLAC", "two/.hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "two" / "notes.txt").touch()
    return tmp_path


def names(*places):
    return [each.name.as_posix() for each in audio_files(list(places))]


def test_a_folder_keeps_its_folders_so_that_like_names_do_not_collide(songs):
    assert names(songs) == ["one/take.wav", "two/deep/other.FLAC", "two/take.wav"]
    assert names(songs / "two") == ["deep/other.FLAC", "take.wav"]
    # Of several folders each gives its name.
    assert names(songs / "one", songs / "two") == [
        "one/take.wav",
        "two/deep/other.FLAC",
        "two/take.wav",
    ]
    taken = _Names()
    written = [taken.take_path(each.name) for each in audio_files(songs)]
    assert written == ["one/take", "two/deep/other", "two/take"]


def test_a_pattern_keeps_the_folders_that_it_leaves_open(songs):
    assert names(f"{songs}/*/take.wav") == ["one/take.wav", "two/take.wav"]
    assert names(f"{songs}/two/*.wav") == ["take.wav"]
    assert names(f"{songs}/**/*.FLAC") == ["two/deep/other.FLAC"]
    assert names(f"{songs}/o*") == ["one/take.wav"]


def test_files_are_taken_as_they_are_named(songs):
    one = songs / "one" / "take.wav"
    assert names(one, one, songs / "absent.wav") == ["take.wav", "take.wav", "absent.wav"]
    assert audio_files(str(one))[0].path == one
    # A name that has the signs of a pattern and is there is a file.
    odd = songs / "a[1].wav"
    odd.touch()
    assert names(odd) == ["a[1].wav"]


def test_nothing_is_one_line(songs):
    with pytest.raises(ExtractError, match=r"\*.mp3: no file matches"):
        audio_files(songs / "*.mp3")
    (songs / "empty").mkdir()
    with pytest.raises(ExtractError, match="empty: no sound file there; known are .aif"):
        audio_files([songs / "empty"])
    with pytest.raises(ExtractError, match="there is no audio: name files, folders or patterns"):
        audio_files([])


def test_no_name_leaves_the_folder():
    taken = _Names()
    for name in ("../x.wav", "../../x.wav", "a:b/..wav", "/x.wav"):
        stem = Path(taken.take_path(Path(name)))
        assert not stem.is_absolute()
        assert ".." not in stem.parts
