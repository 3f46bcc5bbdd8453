"""NSynth: labels come from the metadata, classes are MIDI numbers, train instruments are nowhere
else.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from svuprobe.tasks import find_clips, instrument, kinds, pitch
from svuprobe.tasks.datasets import nsynth
from svuprobe.tasks.types import SPLITS, TaskError

TASKS = (instrument.TASK, pitch.TASK)
LABELS = Path(__file__).parents[1] / "data" / "nsynth_notes.csv"
# Names as in the distribution; valid and test share the guitar.
NOTES = {
    "train": [
        "bass_synthetic_033-022-050",
        "guitar_acoustic_000-060-127",
        "synth_lead_synthetic_001-060-127",
    ],
    "valid": ["guitar_acoustic_010-055-025"],
    "test": [
        "bass_synthetic_009-010-025",
        "guitar_acoustic_010-060-100",
        "mallet_acoustic_056-113-050",
    ],
}


def row(name: str) -> dict[str, object]:
    """What the tasks need of an entry of examples.json."""
    instrument_str, midi, velocity = name.rsplit("-", 2)
    family = instrument_str.rsplit("_", 2)[0]
    return {
        "note_str": name,
        "instrument_str": instrument_str,
        "instrument_family_str": family,
        "pitch": int(midi),
        "velocity": int(velocity),
    }


def tree(
    base: Path,
    notes: dict[str, list[str]] = NOTES,
    suffix: str = ".wav",
    absent: tuple[str, ...] = (),
) -> Path:
    for split in SPLITS:
        folder = base / f"nsynth-{split}" / "audio"
        folder.mkdir(parents=True)
        rows = {name: row(name) for name in notes[split]}
        (folder.parent / "examples.json").write_text(json.dumps(rows))
        for name in set(rows) - set(absent):
            (folder / f"{name}{suffix}").touch()
    return base


@pytest.mark.parametrize("between", ["", "nsynth-data"])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_notes_are_found_as_distributed(tmp_path, between, suffix):
    tree(tmp_path / between, suffix=suffix)
    for task in TASKS:
        clips = find_clips(task, tmp_path)
        assert [c.id for c in clips] == [name for split in SPLITS for name in sorted(NOTES[split])]
        assert Counter(c.split for c in clips) == {"train": 3, "valid": 1, "test": 3}
        assert all(Path(c.path).is_file() and Path(c.path).suffix == suffix for c in clips)


def test_both_tasks_see_the_same_clips_so_they_share_a_cache(tmp_path):
    first, second = (find_clips(task, tree(tmp_path / task.name)) for task in TASKS)
    assert [(c.id, c.split, c.group) for c in first] == [(c.id, c.split, c.group) for c in second]
    assert instrument.TASK.windowing == pitch.TASK.windowing
    assert instrument.TASK.dataset == pitch.TASK.dataset


def test_synth_lead_is_a_family_though_its_name_has_an_underscore(tmp_path):
    clips = {c.id: c for c in find_clips(instrument.TASK, tree(tmp_path))}
    lead = clips["synth_lead_synthetic_001-060-127"]
    assert (lead.target, lead.group) == ("synth_lead", "synth_lead_synthetic_001")
    assert len(instrument.LABELS) == 11
    assert list(instrument.LABELS) == sorted(instrument.LABELS)


def test_class_ids_of_pitch_are_midi_numbers(tmp_path):
    """Neither pitch - 1 nor pitch - 9, as MARBLE has it; notes below 21 and above 108 occur."""
    clips = find_clips(pitch.TASK, tree(tmp_path))
    classes = kinds.of(pitch.TASK).encode(pitch.TASK, pitch.LABELS, clips)
    assert dict(zip([c.id for c in clips], classes.tolist(), strict=True)) == {
        name: int(name.split("-")[1]) for split in SPLITS for name in NOTES[split]
    }
    assert list(pitch.LABELS) == sorted(pitch.LABELS)
    assert [int(label) for label in pitch.LABELS] == list(range(128))


def test_notes_without_audio_are_left_out(tmp_path):
    absent = ("bass_synthetic_033-022-050", "mallet_acoustic_056-113-050")
    clips = find_clips(pitch.TASK, tree(tmp_path, absent=absent))
    assert Counter(c.split for c in clips) == {"train": 2, "valid": 1, "test": 2}


def test_valid_and_test_may_share_instruments_train_shares_none(tmp_path):
    groups = {}
    for clip in find_clips(instrument.TASK, tree(tmp_path / "official")):
        groups.setdefault(clip.split, set()).add(clip.group)
    assert groups["valid"] & groups["test"] == {"guitar_acoustic_010"}
    assert not groups["train"] & (groups["valid"] | groups["test"])
    mixed = NOTES | {"train": [*NOTES["train"], "guitar_acoustic_010-062-100"]}
    with pytest.raises(
        TaskError, match="instrument guitar_acoustic_010 is in both train and valid"
    ):
        find_clips(instrument.TASK, tree(tmp_path / "mixed", mixed))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "not NSynth's metadata"),
        ('{"a": 3}', "note 'a' has no instrument_family_str of type str"),
        ('{"a": {"instrument_family_str": "bass"}}', "note 'a' has no instrument_str of type str"),
        (
            '{"a": {"instrument_family_str": "bass", "instrument_str": "b", "pitch": "60"}}',
            "note 'a' has no pitch of type int",
        ),
    ],
)
def test_malformed_metadata_is_one_line(tmp_path, text, said):
    path = tree(tmp_path) / "nsynth-valid" / "examples.json"
    path.write_text(text)
    with pytest.raises(TaskError) as error:
        find_clips(instrument.TASK, tmp_path)
    assert str(error.value).startswith(f"{path}: {said}")
    assert "\n" not in str(error.value)


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(
        TaskError, match=r"nsynth-train/examples\.json: no such file; NSynth unpacks to"
    ):
        find_clips(pitch.TASK, tmp_path)
    tree(tmp_path, absent=tuple(NOTES["test"]))
    (tmp_path / "nsynth-test" / "audio").rmdir()
    with pytest.raises(
        TaskError, match=r"nsynth-test/audio: no such folder; unpack nsynth-test\.jsonwav"
    ):
        find_clips(pitch.TASK, tmp_path)


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_note_is_one_window_even_if_resampling_adds_a_sample(rate, extra):
    assert len(nsynth.WINDOWING.spans(4 * rate + extra, rate)) == 1


def test_the_official_counts_add_up_to_the_dataset():
    for task in TASKS:
        assert task.expected == {"train": 289_205, "valid": 12_678, "test": 4_096}
        assert sum(task.expected.values()) == 305_979
        assert task.hours == pytest.approx(305_979 * 4 / 3600, abs=0.1)


# Metrics of pitch


def scores(true: list[int], predicted: list[int]) -> list[float]:
    """Accuracy within a semitone and of pitch class."""
    group, once = np.arange(len(true)), np.ones((1, len(true)))
    args = np.array(true), np.eye(128)[predicted], group, once
    return [float(f(*args)[0]) for f in (pitch.accuracy_semitone, pitch.accuracy_pitch_class)]


@pytest.mark.parametrize(
    ("true", "predicted", "semitone", "pitch_class"),
    [
        ([60, 61], [60, 61], 1, 1),
        ([60, 60], [59, 61], 1, 0),
        ([60, 60], [48, 84], 0, 1),
        ([60, 60], [58, 62], 0, 0),
        ([0, 127], [127, 0], 0, 0),  # the ends are not neighbours
        ([11, 12], [12, 11], 1, 0),
        ([60, 60, 60, 60], [60, 61, 72, 66], 0.5, 0.5),
    ],
)
def test_a_semitone_off_and_an_octave_off(true, predicted, semitone, pitch_class):
    assert scores(true, predicted) == [semitone, pitch_class]


def test_resampled_groups_count_as_often_as_they_are_drawn():
    target, output, group = np.array([60, 60, 72]), np.eye(128)[[60, 61, 60]], np.array([0, 0, 1])
    counts = np.array([[1, 1], [2, 0], [0, 1], [1, 3]])
    assert pitch.accuracy_semitone(target, output, group, counts) == pytest.approx(
        [2 / 3, 1, 0, 2 / 5]
    )
    assert pitch.accuracy_pitch_class(target, output, group, counts) == pytest.approx(
        [2 / 3, 1 / 2, 1, 4 / 5]
    )


# Real recordings, where they lie beside the repository


def test_notes_of_the_distribution_are_read_with_their_labels(tmp_path):
    with LABELS.open(newline="") as lines:
        labels = {row["note"]: row for row in csv.DictReader(lines)}
    assert len(labels) == 40
    tree(tmp_path, NOTES | {"train": [], "test": sorted(labels)})
    by_task = [[c for c in find_clips(task, tmp_path) if c.split == "test"] for task in TASKS]
    assert {c.id: c.target for c in by_task[0]} == {
        name: label["family"] for name, label in labels.items()
    }
    assert {c.id: int(c.target) for c in by_task[1]} == {
        name: int(label["pitch"]) for name, label in labels.items()
    }
    assert {c.target for c in by_task[0]} <= set(instrument.LABELS)
