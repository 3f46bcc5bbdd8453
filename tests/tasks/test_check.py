"""Is a dataset whole? Counts against the official ones, files that can't be decoded, copies that
changed.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from svuprobe._progress import SILENT, Reporter
from svuprobe.extractors.audio.decoders import Decoders
from svuprobe.tasks import Clip, Task, Windowing, find_clips, load
from svuprobe.tasks.data import check as checking
from svuprobe.tasks.data.check import CheckReport, absent
from svuprobe.tasks.datasets import DATASETS
from svuprobe.tasks.synth import mir_st500


def write(path: Path, seconds: float, rate: int = 8000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.zeros((round(seconds * rate), channels)), rate)
    return path


def check(task, root, clips, reporter=SILENT, **options) -> CheckReport:
    """A check in this process."""
    return checking.check(task, root, clips, Decoders(0).heads, reporter, **options)


def task_of(clips, **options) -> Task:
    """A task of real recordings whose clips are given."""
    defaults = {
        "name": "toy",
        "dataset": "toy",
        "kind": "multiclass",
        "metrics": ("accuracy",),
        "clips": lambda root: clips,
        "windowing": Windowing(),
        "licence": "none",
        "reference": "nowhere",
    }
    return Task(**defaults | options)


@pytest.fixture
def three(tmp_path):
    """Clips of 1, 2 and 4 s, one in each split."""
    return [
        Clip(split, str(write(tmp_path / f"{split}.wav", seconds)), split, "x", f"g{seconds}")
        for split, seconds in (("train", 1), ("valid", 2), ("test", 4))
    ]


def test_a_whole_dataset_is_counted_split_by_split(tmp_path, three):
    task = task_of(three, expected={"train": 1, "valid": 1, "test": 1}, hours=0.5)
    report = check(task, tmp_path, three)
    assert report.ok
    assert [(s.clips, s.groups, s.official) for s in report.splits.values()] == [(1, 1, 1)] * 3
    assert report.hours * 3600 == pytest.approx(7)
    assert (report.shortest, report.longest) == ((1.0, "train"), (4.0, "test"))
    assert report.labels == {"x": {"train": 1, "valid": 1, "test": 1}}
    assert report.forms == {"WAV 8000 Hz mono": 3}
    text = "\n".join(report.lines())
    assert text.endswith("whole: nothing is missing or damaged")
    assert "official" in text
    assert "1.00 s (train) to 4.00 s (test)" in text


def test_missing_and_surplus_clips_are_told_against_the_official_numbers(tmp_path, three):
    report = check(task_of(three, expected={"train": 443, "valid": 1, "test": 0}), tmp_path, three)
    assert not report.ok
    assert report.problems == (
        "train: 1 clips found, 443 are official (-442)",
        "test: 1 clips found, 0 are official (+1)",
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.wav", None, "no such file"),
        ("empty.wav", b"", "is empty (0 bytes)"),
        ("text.mp3", b"<html>404 Not Found</html>", "can't be decoded"),
        ("half.wav", b"RIFF\x00\x00\x00\x00WAVE", "can't be decoded"),
    ],
)
def test_files_without_audio_are_named(tmp_path, three, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    clips = [*three, Clip("bad", str(tmp_path / name), "train", "x", "g")]
    report = check(task_of(clips), tmp_path, clips)
    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"{name}: {said}")
    assert "problems: 1" in report.lines()


def test_a_file_of_no_frames_is_named(tmp_path, three):
    clips = [*three, Clip("none", str(write(tmp_path / "none.wav", 0)), "train", "x", "g")]
    report = check(task_of(clips), tmp_path, clips)
    assert report.problems == ("none.wav: holds no audio (0 frames)",)
    assert report.shortest == (1.0, "train")


def test_clips_count_by_their_own_length_and_must_lie_in_their_file(tmp_path, three):
    parts = [
        replace(three[2], id="a", start=0.5, end=1.5),
        replace(three[2], id="b", start=3.0, end=4.05),
        replace(three[2], id="c", start=3.0, end=5.0),
        replace(three[2], id="d", start=6.0),
    ]
    report = check(task_of(parts, expected={"test": 4}), tmp_path, parts)
    assert report.splits["test"].hours * 3600 == pytest.approx(3)
    assert [problem[:7] for problem in report.problems] == ["clip c:", "clip d:"]
    assert report.forms == {"WAV 8000 Hz mono": 1}  # one file, read once


def test_a_label_that_is_never_trained_is_told_where_there_are_no_official_numbers(tmp_path, three):
    clips = [replace(three[0], target="a"), replace(three[2], target="b")]
    assert check(task_of(clips), tmp_path, clips).problems == ("no training clip of b",)
    known = task_of(clips, labels=("a", "b", "c"), expected={"train": 1, "test": 1})
    assert check(known, tmp_path, clips).ok
    assert list(check(known, tmp_path, clips).labels) == ["a", "b", "c"]


def test_tags_and_notes_are_counted_too(tmp_path, three):
    tagged = [
        replace(three[0], target=("a", "b")),
        replace(three[1], target=()),
        replace(three[2], target=("b",)),
    ]
    report = check(task_of(tagged, kind="multilabel", expected={"train": 1}), tmp_path, tagged)
    assert report.labels == {"a": {"train": 1}, "b": {"train": 1, "test": 1}}
    noted = [replace(clip, target=((0.0, 0.5, 60.0), (0.5, 1.0, 62.0))) for clip in three]
    report = check(task_of(noted, kind="notes", metrics=("COn",)), tmp_path, noted)
    assert [split.events for split in report.splits.values()] == [2, 2, 2]
    assert "notes" in report.lines()[2]


def test_many_labels_and_many_problems_stay_readable(tmp_path, three):
    clips = [replace(three[0], id=str(n), target=f"tag{n:02d}") for n in range(60)]
    clips += [
        Clip(f"gone{n}", str(tmp_path / f"gone{n}.wav"), "train", "tag00", "g") for n in range(30)
    ]
    report = check(task_of(clips), tmp_path, clips)
    assert len(report.problems) == 30
    lines = report.lines(most=5)
    assert len(lines) < 25
    assert any(
        line.startswith("labels     60, from tag01 (1) to tag00 (31) clips") for line in lines
    )
    assert lines[-1] == "  ... and 25 more"


# A synthetic copy


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy") / "mir-st500"
    mir_st500.write(root, 3, 0)
    return root


def checked(root: Path, **options):
    task = replace(load("transcription"), expected={"train": 360, "valid": 40, "test": 100})
    return check(task, root, find_clips(task, root), **options)


def test_a_synthetic_copy_is_compared_with_itself_not_with_the_official_numbers(copy):
    report = checked(copy, thorough=True)
    assert report.synthetic
    assert report.ok
    assert all(split.official is None for split in report.splits.values())
    assert "synthetic copy" in report.lines()[0]


def test_a_synthetic_copy_that_lost_a_file_is_not_whole(copy, tmp_path):
    root = tmp_path / "mir-st500"
    root.symlink_to(copy)
    lost = copy / "train/1/Vocal.wav"
    kept = lost.rename(lost.with_suffix(".away"))
    try:
        assert checked(root).problems == (
            "train/1/Vocal.wav: no such file; run svuprobe data synth again",
        )
    finally:
        kept.rename(lost)


def test_a_synthetic_copy_with_other_bytes_or_other_files_is_not_whole(copy):
    marker = json.loads((copy / "SYNTHETIC.json").read_text())
    other = marker | {"files": marker["files"] | {"train/1/Vocal.wav": "0" * 64}}
    try:
        (copy / "SYNTHETIC.json").write_text(json.dumps(other))
        assert checked(copy).ok
        assert checked(copy, thorough=True).problems == (
            "train/1/Vocal.wav: changed since it was written",
        )
        del other["files"]["train/1/Vocal.wav"]
        (copy / "SYNTHETIC.json").write_text(json.dumps(other))
        assert "train/1/Vocal.wav: not of this copy" in checked(copy).problems[0]
        (copy / "SYNTHETIC.json").write_text("{}")
        assert "not that of a finished copy" in checked(copy).problems[0]
    finally:
        (copy / "SYNTHETIC.json").write_text(json.dumps(marker))


def test_progress_sees_every_file_once(tmp_path, three):
    seen = []

    def progress(items, total, desc, unit):
        seen.append((total, desc))
        return items

    check(task_of(three), tmp_path, three, Reporter(make_bar=progress))
    assert seen == [(3, "toy: headers")]


# A dataset that is not there


@pytest.mark.parametrize("card", DATASETS.values(), ids=list(DATASETS))
def test_an_absent_dataset_is_described_with_the_next_commands(card, tmp_path):
    task = task_of([], name="some-task", dataset=card.name)
    text = "\n".join(absent(task, tmp_path / card.name))
    for part in (card.title, card.licence, card.homepage, card.getting, str(tmp_path / card.name)):
        assert part in text
    synthetic = f"svuprobe data synth --task some-task --out {tmp_path}"
    assert (synthetic in text) == (card.embedded is None)
    assert (f"svuprobe data prepare --task some-task --data {tmp_path}" in text) == bool(
        card.archives
    )


def test_an_absent_dataset_without_a_card_is_still_described(tmp_path):
    assert absent(task_of([]), tmp_path / "toy")[0] == f"{tmp_path / 'toy'}: no such folder"
