"""GTSinger: marks of phones become segments, singers are apart, speech is left out."""

import json
import re

import pytest

from svuprobe.tasks import find_clips, technique_detection
from svuprobe.tasks.types import TaskError

TASK = technique_detection.TASK
PHRASE = "English/EN-Alto-1/Breathy/my love/Breathy_Group/0000.wav"


def word(times, **marks):
    """A word whose phones begin at each of the times but the last, where it ends."""
    spans = {"ph": ["a"] * (len(times) - 1), "ph_start": times[:-1], "ph_end": times[1:]}
    silent = {label: ["0"] * (len(times) - 1) for label in technique_detection.LABELS}
    return spans | silent | marks


def put(root, path=PHRASE, words=()):
    audio = root / path
    audio.parent.mkdir(parents=True, exist_ok=True)
    audio.touch()
    audio.with_suffix(".json").write_text(json.dumps(list(words)), encoding="utf-8")
    return audio


def test_phones_that_touch_are_one_segment_and_techniques_overlap(tmp_path):
    words = [
        word([0.0, 0.2, 0.5], breathy=["0", "1"]),
        word([0.5, 0.9], breathy=["1"], vibrato=["1"]),
        word([0.9, 1.1, 1.4], breathy=["0", "1"]),
    ]
    put(tmp_path, words=words)
    (clip,) = find_clips(TASK, tmp_path)
    assert clip.target == ((0.2, 0.9, "breathy"), (0.5, 0.9, "vibrato"), (1.1, 1.4, "breathy"))
    assert (clip.id, clip.group) == ("EN-Alto-1/Breathy/my love/Breathy_Group/0000", "EN-Alto-1")


def test_marks_are_read_as_both_spellings_and_whether_text_or_number(tmp_path):
    marked = word([0.0, 1.0], mix=[1])
    marked["breathe"] = marked.pop("breathy")
    marked["breathe"] = ["1"]
    path = put(tmp_path, words=[marked]).with_suffix(".json")
    assert technique_detection.read(path) == ((0.0, 1.0, "breathy"), (0.0, 1.0, "mix"))


def test_speech_and_phrases_without_marks_are_left_out(tmp_path):
    put(tmp_path)
    put(tmp_path, PHRASE.replace("Breathy_Group", technique_detection.SPEECH))
    put(tmp_path, PHRASE.replace("0000", "0001")).with_suffix(".json").unlink()
    assert [clip.id[-4:] for clip in find_clips(TASK, tmp_path)] == ["0000"]


def test_every_singer_has_one_split_and_every_test_language_a_training_singer():
    splits = technique_detection.SPLIT_SINGERS
    everyone = [singer for part in splits.values() for singer in part]
    assert len(everyone) == len(set(everyone)) == 20
    assert [len(splits[part]) for part in ("train", "valid", "test")] == [10, 4, 6]
    languages = {part: {singer[:2] for singer in splits[part]} for part in splits}
    assert languages["test"] <= languages["train"]
    assert len(languages["test"]) == 6
    assert {singer.split("-")[1] for singer in splits["test"]} == {
        "Soprano",
        "Alto",
        "Tenor",
        "Bass",
    }


def test_a_singer_nobody_knows_is_named(tmp_path):
    put(tmp_path, PHRASE.replace("EN-Alto-1", "EN-Alto-9"))
    with pytest.raises(TaskError, match="'EN-Alto-9' is none of GTSinger's 20 singers"):
        find_clips(TASK, tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        {"words": 1},
        [1],
        [{"ph_start": [0.0]}],
        [word([0.0, 1.0], vibrato=["0", "1"])],
        [word([0.0, 1.0], vibrato=["2"])],
        [word(["a", "b"], vibrato=["1"])],
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, words):
    path = put(tmp_path, words=[]).with_suffix(".json")
    path.write_text(json.dumps(words))
    with pytest.raises(TaskError, match=re.escape(f"{path}: not GTSinger's list of words")):
        technique_detection.read(path)
