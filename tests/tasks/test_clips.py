"""How clips are cut into windows, and which clips the tasks on VocalSet and MIR-ST500 find."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from svuprobe.tasks import (
    TABLE,
    dataset_id,
    find_clips,
    is_synthetic,
    load,
    singer,
    technique,
    transcription,
)
from svuprobe.tasks.datasets import embedded_folder, vocalset
from svuprobe.tasks.types import SPLITS, Clip, TaskError, Windowing, natural_key

RATES = (8000, 16000, 22050, 24000, 44100, 48000)
TECHNIQUES = (
    *technique.LABELS,
    *("fast_forte", "fast_piano", "forte", "messa", "pp", "slow_forte", "slow_piano"),
)


# Windows


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("seconds", "window_s", "tail_s", "expected"),
    [
        (30.013, 30.0, 1.0, 1),
        (30.0, 30.0, 1.0, 1),
        (29.9, 30.0, 1.0, 1),
        (31.0, 30.0, 1.0, 2),
        (30.99, 30.0, 1.0, 1),
        (60.0, 30.0, 1.0, 2),
        (61.0, 30.0, 1.0, 3),
        (0.5, 30.0, 1.0, 1),
        (0.0, 30.0, 1.0, 1),
        (10.0, 3.0, 1.0, 4),
        (9.9, 3.0, 1.0, 3),
        (9.9, 3.0, 0.0, 4),
        (9.9, 3.0, 3.0, 3),
        (9.9, 3.0, 50.0, 3),
        (0.0, 5.0, 0.0, 1),
        (1000.0, None, 0.0, 17),
        (0.0, None, 0.0, 1),
    ],
)
def test_a_clip_of_some_seconds_has_so_many_windows(seconds, window_s, tail_s, expected, rate):
    assert len(Windowing(window_s, tail_s).spans(round(seconds * rate), rate)) == expected


def test_a_whole_clip_of_more_than_a_minute_is_cut_into_equal_windows():
    assert Windowing().spans(60 * 100, 100) == [(0, 6000)]
    assert Windowing().spans(60 * 100 + 1, 100) == [(0, 3000), (3000, 6001)]
    assert len(Windowing().spans(7200 * 100, 100)) == 120


@pytest.mark.parametrize(
    "windowing", [Windowing(3.0, 1.0), Windowing(5.0), Windowing(0.7, 0.7), Windowing()]
)
@pytest.mark.parametrize("rate", [100, 22050])
def test_windows_follow_each_other_and_only_a_short_tail_is_lost(windowing, rate):
    for n in [*range(1, 40), *range(60, 1500, 7)]:
        n_samples = n * rate // 100
        spans = windowing.spans(n_samples, rate)
        assert spans[0][0] == 0
        assert all(a < b for a, b in spans)
        assert all(one[1] == other[0] for one, other in pairwise(spans))
        if windowing.window_s is None:
            assert spans == [(0, n_samples)]  # under a minute
            continue
        size, tail = round(windowing.window_s * rate), round(windowing.tail_s * rate)
        assert all(b - a == size for a, b in spans[:-1])
        assert spans[-1][1] - spans[-1][0] <= size
        assert spans[-1][1] <= n_samples
        assert n_samples - spans[-1][1] < max(tail, 1)
        assert len(spans) == 1 or spans[-1][1] - spans[-1][0] >= tail


@pytest.mark.parametrize("windowing", [Windowing(), Windowing(3.0), Windowing(3.0, 1.0)])
def test_a_clip_without_samples_is_one_empty_window(windowing):
    assert windowing.spans(0, 16000) == [(0, 0)]


def test_different_windowings_have_different_keys():
    table = [
        Windowing(window, tail, trim)
        for window in (None, 0.5, 2.993, 3.0, 30.0)
        for tail in (0.0, 0.25, 0.5, 1.0)
        for trim in (False, True)
    ]
    assert all(one.key != other.key for one, other in combinations(table, 2))
    assert all(re.fullmatch(r"[a-z0-9.-]+", windowing.key) for windowing in table)
    assert Windowing(3.0, 1.0, trim=True).key == "3s-tail1s-trim"


def test_male2_comes_before_male10():
    assert sorted(["male10", "male2", "female1", "male1"], key=natural_key) == [
        "female1",
        "male1",
        "male2",
        "male10",
    ]


# VocalSet


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def vocalset_tree(root: Path) -> Path:
    """Every singer sings every technique once."""
    return touch(
        root, *(f"FULL/{s}/scales/{t}/{s}_{t}_a.wav" for s in vocalset.SINGERS for t in TECHNIQUES)
    )


def test_singer_and_technique_come_from_the_folders_not_from_the_name(tmp_path):
    touch(
        tmp_path,
        "FULL/male4/arpeggios/vocal_fry/f2_scales_vibrato_a.wav",
        "FULL/male4/scales/belt/belt_a.wav",
    )
    found = vocalset.recordings(tmp_path)
    assert [(r.singer, r.context, r.technique) for r in found] == [
        ("male4", "arpeggios", "vocal_fry"),
        ("male4", "scales", "belt"),
    ]
    assert found[0].id == "male4/arpeggios/vocal_fry/f2_scales_vibrato_a"
    assert found[0].path == tmp_path / "FULL/male4/arpeggios/vocal_fry/f2_scales_vibrato_a.wav"


def test_male1_male10_and_male11_are_three_singers(tmp_path):
    touch(
        tmp_path,
        *(
            f"FULL/{s}/scales/straight/m1_scales_straight_a.wav"
            for s in ("male1", "male10", "male11")
        ),
    )
    for name in ("technique", "singer"):
        assert len(find_clips(load(name), tmp_path)) == 3
    assert [c.target for c in singer.clips(tmp_path)] == ["male1", "male10", "male11"]
    assert [c.split for c in technique.clips(tmp_path)] == ["train", "test", "valid"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("female2/scales/vibrato/f2_scales_vibrato_a.wav", True),
        ("female2/scales/vibrato/f2_scales_vibrato_a(1).wav", False),
        ("female5/excerpts/vibrato/caro_vibrato.wav", False),
        ("female5/excerpts/vibrato/dona_vibrato.wav", False),
        ("female5/excerpts/vibrato/row_vibrato.wav", False),
        ("male7/arpeggios/vibrato/slow_vibrato_arps.wav", False),
        ("female5/excerpts/straight/row_vibrato.wav", True),
        ("female2/scales/vibrato/._f2_scales_vibrato_a.wav", False),
        ("female2/scales/vibrato/f2_scales_vibrato_a.txt", False),
        ("female10/scales/vibrato/f10_scales_vibrato_a.wav", False),
        ("male12/scales/vibrato/m12_scales_vibrato_a.wav", False),
        ("Female2/scales/vibrato/f2_scales_vibrato_a.wav", False),
        ("female2/lullabies/vibrato/f2_vibrato_a.wav", False),
        ("__MACOSX/scales/vibrato/f2_vibrato_a.wav", False),
        ("female2/scales/f2_vibrato_a.wav", False),
        ("female2/scales/vibrato/more/f2_vibrato_a.wav", False),
    ],
)
def test_duplicates_junk_and_unknown_folders_are_left_out(tmp_path, name, kept):
    touch(tmp_path, "FULL/male1/scales/straight/m1_scales_straight_a.wav", f"FULL/{name}")
    names = {
        r.path.relative_to(tmp_path / "FULL").as_posix() for r in vocalset.recordings(tmp_path)
    }
    assert names == {"male1/scales/straight/m1_scales_straight_a.wav"} | ({name} if kept else set())


def test_recordings_come_in_the_order_of_their_numbers(tmp_path):
    found = [r.singer for r in vocalset.recordings(vocalset_tree(tmp_path))]
    assert list(dict.fromkeys(found)) == list(vocalset.SINGERS)


def test_technique_is_asked_of_unseen_singers(tmp_path):
    clips = find_clips(load("technique"), vocalset_tree(tmp_path))
    singers = {split: {clip.group for clip in clips if clip.split == split} for split in SPLITS}
    assert singers["test"] == {"female2", "female8", "male3", "male5", "male10"}
    assert singers["valid"] == {"female9", "male9", "male11"}
    assert singers["train"] == set(vocalset.SINGERS) - singers["test"] - singers["valid"]
    assert len(singers["train"]) == 12


def test_technique_has_ten_classes_in_every_split(tmp_path):
    clips = find_clips(load("technique"), vocalset_tree(tmp_path))
    assert len(technique.LABELS) == 10
    assert list(technique.LABELS) == sorted(technique.LABELS)
    for split in SPLITS:
        assert {clip.target for clip in clips if clip.split == split} == set(technique.LABELS)


def test_singers_are_identified_on_all_17_techniques(tmp_path):
    clips = find_clips(load("singer"), vocalset_tree(tmp_path))
    assert len(clips) == 20 * 17
    assert Counter(clip.target for clip in clips) == dict.fromkeys(vocalset.SINGERS, 17)
    assert {clip.id.split("/")[2] for clip in clips} == set(TECHNIQUES)
    assert singer.TASK.labels == tuple(sorted(vocalset.SINGERS))


def test_the_split_of_a_recording_does_not_depend_on_the_other_files_or_the_folder(tmp_path):
    some = [f"FULL/male1/scales/{t}/m1_{t}_a.wav" for t in TECHNIQUES]
    alone = {c.id: c.split for c in singer.clips(touch(tmp_path / "a", *some[::2]))}
    among = {c.id: c.split for c in singer.clips(vocalset_tree(touch(tmp_path / "b", *some)))}
    assert len(alone) == 9
    assert alone.items() <= among.items()


def test_recordings_are_split_60_20_20_in_every_singer():
    for name in vocalset.SINGERS:
        splits = Counter(singer.split_of(f"{name}/scales/belt/take{n}") for n in range(2000))
        shares = {split: count / 2000 for split, count in splits.items()}
        assert shares == pytest.approx({"train": 0.6, "valid": 0.2, "test": 0.2}, abs=0.04)


def test_the_split_of_a_published_recording_never_changes():
    """The SHA-256 of ten names, taken with the shell's sha256sum: another rule would change every
    score.
    """
    splits = {t: singer.split_of(f"female1/scales/{t}/f1_scales_{t}_a") for t in technique.LABELS}
    assert splits == dict.fromkeys(technique.LABELS, "train") | {"belt": "valid", "spoken": "test"}


def test_a_folder_that_is_not_vocalset_is_refused(tmp_path):
    with pytest.raises(
        TaskError,
        match=re.escape(f"{tmp_path}: no folder FULL in it; VocalSet 1.1 unpacks to FULL/"),
    ):
        find_clips(load("technique"), tmp_path)
    (tmp_path / "FULL").mkdir()
    with pytest.raises(TaskError, match="no clip of vocalset found in its official layout"):
        find_clips(load("technique"), tmp_path)


# MIR-ST500


def mir_st500(root: Path, audio: dict[int, str], annotation: object = None) -> Path:
    """A tree with the notes of all songs of ``audio`` and of songs 7 and 499, and the files
    ``audio`` names.
    """
    root.mkdir(parents=True, exist_ok=True)
    notes = {
        str(song): [[0.5, 1.0, 60], [1.0, 2.25, 62.0]]
        for song in sorted({*audio, 7, 499}, reverse=True)
    }
    (root / transcription.ANNOTATION).write_text(
        json.dumps(notes if annotation is None else annotation)
    )
    return touch(root, *audio.values())


@pytest.mark.parametrize(
    ("song", "split", "folder"),
    [
        (1, "train", "train"),
        (360, "train", "train"),
        (361, "valid", "train"),
        (400, "valid", "train"),
        (401, "test", "test"),
        (500, "test", "test"),
    ],
)
@pytest.mark.parametrize(
    "layout", ["{folder}/{song}/Vocal.wav", "{folder}/{song}.wav", "{song}.wav"]
)
def test_songs_are_split_by_number_and_found_in_three_layouts(
    tmp_path, song, split, folder, layout
):
    name = layout.format(folder=folder, song=song)
    clips = find_clips(load("transcription"), mir_st500(tmp_path, {song: name}))
    notes = ((0.5, 1.0, 60.0), (1.0, 2.25, 62.0))
    assert clips == [Clip(str(song), str(tmp_path / name), split, notes, group=str(song))]


def test_songs_without_audio_are_left_out_and_the_rest_come_by_number(tmp_path):
    clips = transcription.clips(mir_st500(tmp_path, {n: f"{n}.wav" for n in (10, 9, 100, 450)}))
    assert [clip.id for clip in clips] == ["9", "10", "100", "450"]


def test_songs_without_notes_are_left_out(tmp_path):
    root = touch(mir_st500(tmp_path, {3: "3.wav"}), "4.wav")
    assert [clip.id for clip in transcription.clips(root)] == ["3"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"one": []}',
        '{"1": 3}',
        '{"1": [[0, 1]]}',
        '{"1": [["a", 1, 60]]}',
        '{"1": [null]}',
    ],
)
def test_a_malformed_annotation_is_one_line(tmp_path, text):
    mir_st500(tmp_path, {})
    (tmp_path / transcription.ANNOTATION).write_text(text)
    with pytest.raises(TaskError) as error:
        find_clips(load("transcription"), tmp_path)
    assert str(error.value).startswith(
        f"{tmp_path / transcription.ANNOTATION}: not the MIR-ST500 annotation"
    )
    assert "\n" not in str(error.value)


def test_a_missing_annotation_is_named(tmp_path):
    with pytest.raises(TaskError, match="MIR-ST500_corrected.json: no such file"):
        find_clips(load("transcription"), tmp_path)


def test_an_annotation_without_any_audio_is_refused(tmp_path):
    with pytest.raises(TaskError, match="no clip of mir-st500 found in its official layout"):
        find_clips(load("transcription"), mir_st500(tmp_path, {}))


# What holds for every task


@pytest.mark.parametrize("name", TABLE)
def test_a_missing_folder_is_answered_with_the_next_command(tmp_path, name):
    task = load(name)
    root = tmp_path / task.dataset
    with pytest.raises(TaskError) as error:
        find_clips(task, root)
    message = str(error.value)
    assert message.startswith(f"{root}: no such folder")
    if embedded_folder(task.dataset):
        assert f"leave out --data {task.dataset}={root}" in message
        return
    assert f"--data {task.dataset}=PATH" in message
    assert f"svuprobe data synth --task {name} --out {tmp_path}" in message


@pytest.mark.parametrize("name", ["technique", "singer"])
@pytest.mark.parametrize(
    ("marker", "refused"),
    [({"complete": False}, True), ({"complete": True}, False), ({}, False)],
)
def test_a_synthetic_copy_that_was_interrupted_is_refused(tmp_path, name, marker, refused):
    root = vocalset_tree(tmp_path)
    assert not is_synthetic(root)
    (root / "SYNTHETIC.json").write_text(json.dumps(marker))
    assert is_synthetic(root)
    if refused:
        with pytest.raises(TaskError, match="interrupted; run svuprobe data synth again"):
            find_clips(load(name), root)
    else:
        assert find_clips(load(name), root)


@pytest.mark.parametrize("name", TABLE)
def test_a_synthetic_copy_never_shares_a_name_with_the_recordings(name):
    task = load(name)
    assert dataset_id(task, False) == task.dataset
    assert dataset_id(task, True) == f"{task.dataset}.synthetic"


@pytest.mark.parametrize("name", TABLE)
def test_tasks_of_the_table_are_called_what_the_table_calls_them(name):
    task = load(name)
    assert task.name == name
    assert task.scored in ("clip", "window")
    assert task.licence
    assert task.reference


def test_ids_that_repeat_and_groups_in_two_splits_are_refused():
    one = Clip("a", "a.wav", "train", "x", "g")
    task = replace(
        load("singer"), source="own", clips=lambda root: [one, replace(one, path="b.wav")]
    )
    with pytest.raises(TaskError, match="task singer: clip id 'a' occurs twice"):
        find_clips(task, Path())
    task = replace(task, clips=lambda root: [one, replace(one, id="b", split="test")])
    with pytest.raises(TaskError, match="group 'g' is in both train and test"):
        find_clips(task, Path())
    assert len(find_clips(replace(task, disjoint_groups=False), Path())) == 2


def test_the_marble_split_keeps_the_test_singers_and_shares_the_others(tmp_path):
    for who in vocalset.SINGERS:
        for vowel in "aeiou":
            for how in ("belt", "straight", "trill"):
                path = tmp_path / "FULL" / who / "scales" / how / f"x_scales_{how}_{vowel}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    ours, theirs = (find_clips(load(name), tmp_path) for name in ("technique", "technique-marble"))
    assert [c.id for c in ours] == [c.id for c in theirs]
    assert {c.group for c in theirs if c.split == "test"} == {
        c.group for c in ours if c.split == "test"
    }
    valid = [c for c in theirs if c.split == "valid"]
    assert 0.3 < len(valid) / (len(valid) + sum(c.split == "train" for c in theirs)) < 0.5
    assert {c.group for c in valid} & {c.group for c in theirs if c.split == "train"}
