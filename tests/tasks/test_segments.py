"""Segments and structure: labelled intervals, scored as the field's libraries score them."""

import re

import mir_eval
import numpy as np
import pytest
import soundfile
import torch
from planted import write_task

from svuprobe import api
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import kinds, load
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Task, TaskError, Windowing

LABELS = ("straight", "vibrato")
SEGMENTS = kinds.named("segments").with_labels(LABELS)
STRUCTURE = kinds.named("structure").with_labels(("chorus", "verse"))
SUNG = ((0.0, 2.0, "straight"), (1.0, 3.0, "vibrato"), (4.0, 5.0, "vibrato"))
SONG = ((0.0, 10.0, "verse"), (10.0, 20.0, "chorus"), (20.0, 30.0, "verse"))
TIMES = np.arange(0.01, 6.0, 0.02)


def task_of(kind, labels):
    return Task(
        "mine", "mine", kind, (), lambda root: [], Windowing(5.0), "CC0", "none", labels=labels
    )


# -- frames ----------------------------------------------------------------------------------------


def test_frames_have_every_label_that_holds_at_their_centre():
    held = SEGMENTS.rasterise(SUNG, np.array([0.5, 1.5, 2.5, 3.5, 4.5]))
    assert held.tolist() == [[1, 0], [1, 1], [0, 1], [0, 0], [0, 1]]


def test_frames_of_a_structure_have_one_and_gaps_teach_nothing():
    song = (SONG[0], SONG[2])
    classes = STRUCTURE.rasterise(song, np.array([5.0, 15.0, 25.0]))
    assert classes.tolist() == [1, -1, 1]
    gradient = STRUCTURE.gradient(torch.randn(2, 3, 2), torch.from_numpy(classes).long())
    assert not gradient[:, 1].any()
    assert gradient[:, 0].all()


@pytest.mark.parametrize("kind", [SEGMENTS, STRUCTURE])
def test_labels_decode_to_what_they_were_made_of(kind):
    truth = SUNG if kind is SEGMENTS else ((0.0, 2.0, "verse"), (2.0, 6.0, "chorus"))
    targets = kind.rasterise(truth, TIMES)
    hot = targets if kind is SEGMENTS else np.eye(2)[targets]
    logits = torch.from_numpy(18.0 * hot - 9.0)[None]
    (found,) = kind.decode(None, logits, TIMES)
    np.testing.assert_allclose(found, kind.as_events(truth), atol=0.011)
    assert kind.score(truth, found)[kind.metrics[0]] == pytest.approx(1.0, abs=0.01)


def test_flicker_is_no_segment_and_no_gap():
    held = np.zeros((300, 2))
    held[50:100, 0] = 1
    held[70:72, 0] = 0  # 40 ms without it
    held[200:203, 0] = 1  # 60 ms of it
    (found,) = SEGMENTS.decode(None, torch.from_numpy(2 * held - 1)[None], TIMES)
    np.testing.assert_allclose(found, [[1.0, 2.0, 0.0]], atol=1e-9)


# -- scores of segments ----------------------------------------------------------------------------


def test_an_event_counts_within_200_ms_at_its_onset_and_half_its_length_at_its_end():
    def event_f(*rows):
        return SEGMENTS.score(SUNG[:1], np.array(rows, dtype=float))["event_f"]

    assert event_f((0.19, 2.0, 0)) == 1
    assert event_f((0.21, 2.0, 0)) == 0
    assert event_f((0.0, 2.9, 0)) == 1
    assert event_f((0.0, 3.1, 0)) == 0
    assert event_f((0.0, 2.0, 1)) == 0  # another label
    assert event_f((0.0, 2.0, 0), (0.1, 2.0, 0)) == pytest.approx(2 / 3)  # matched once


def test_seconds_and_time_are_counted_by_hand():
    estimate = np.array([[0.0, 2.0, 0.0], [1.5, 3.5, 1.0]])
    scores = SEGMENTS.score(SUNG, estimate)
    # Seconds: straight 0 1, vibrato 1 2 4 against straight 0 1, vibrato 1 2 3.
    assert scores["segment_f"] == pytest.approx(2 * 4 / (5 + 5))
    # Time: 2 s of straight and 1.5 s of vibrato are right, of 5 s and 4 s.
    assert scores["overlap_f"] == pytest.approx(2 * 3.5 / 9)
    assert SEGMENTS.matched(SUNG, estimate) == (1, 3, 2)


def test_one_label_that_overlaps_itself_is_said_once():
    twice = ((0.0, 2.0, "straight"), (1.0, 3.0, "straight"))
    assert SEGMENTS.score(twice, np.array([[0.0, 3.0, 0.0]]))["overlap_f"] == 1


def test_nothing_found_where_nothing_is_is_right():
    nothing = np.zeros((0, 3))
    assert set(SEGMENTS.score((), nothing).values()) == {1.0}
    assert set(SEGMENTS.score(SUNG, nothing).values()) == {0.0}
    assert set(SEGMENTS.score((), SEGMENTS.as_events(SUNG)).values()) == {0.0}


# -- scores of structure ---------------------------------------------------------------------------


def test_boundaries_and_pairs_are_mir_eval_s():
    estimate = np.array([[0.0, 8.0, 1.0], [8.0, 20.4, 0.0], [20.4, 30.0, 0.0]])
    found = STRUCTURE.score(SONG, estimate)
    spans, names = np.array([row[:2] for row in SONG]), [row[2] for row in SONG]
    labels = [STRUCTURE.names()[int(row[2])] for row in estimate]
    expected = mir_eval.segment.evaluate(spans, names, estimate[:, :2], labels, trim=True)
    assert found["boundary_f_500ms"] == expected["F-measure@0.5"] == 0.5
    assert found["boundary_f_3s"] == expected["F-measure@3.0"] == 1.0
    assert found["pairwise_f"] == pytest.approx(expected["Pairwise F-measure"])
    # 8 s of the first verse and 10 s of the chorus, of 30 s.
    assert found["label_accuracy"] == pytest.approx(18 / 30)


def test_names_need_not_agree_for_pairs():
    swapped = np.array([[0.0, 10.0, 0.0], [10.0, 20.0, 1.0], [20.0, 30.0, 0.0]])
    found = STRUCTURE.score(SONG, swapped)
    assert found["pairwise_f"] == found["boundary_f_500ms"] == 1
    assert found["label_accuracy"] == 0


def test_a_song_of_one_section_and_silence_have_scores():
    whole = ((0.0, 30.0, "verse"),)
    assert set(STRUCTURE.score(whole, STRUCTURE.as_events(whole)).values()) == {1.0}
    assert STRUCTURE.score(whole, STRUCTURE.as_events(SONG))["boundary_f_3s"] == 0
    assert STRUCTURE.score(SONG, np.zeros((0, 3)))["label_accuracy"] == 0
    assert set(STRUCTURE.score((), np.zeros((0, 3))).values()) == {1.0}


# -- own data --------------------------------------------------------------------------------------


def test_labels_may_hold_blanks_where_tabs_separate(tmp_path):
    (tmp_path / "a.lab").write_text("0.0\t1.5\tvocal fry\n1.0\t2.0\tvibrato\n")
    assert kinds.named("segments").read(tmp_path / "a.lab") == (
        (0.0, 1.5, "vocal fry"),
        (1.0, 2.0, "vibrato"),
    )


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (SEGMENTS, "0 1 growl\n", ":1: label 'growl' is not in targets = ['straight', 'vibrato']"),
        (SEGMENTS, "0 1\n", ":1: 2 fields; a segment is start_s end_s label"),
        (SEGMENTS, "0 1 straight\n3 2 vibrato\n", ":2: end 2 s is not after start 3 s"),
        (STRUCTURE, "0 5 verse\n4 9 chorus\n", "there is one section at a time"),
    ],
)
def test_a_lab_file_that_can_t_be_is_named(tmp_path, kind, text, said):
    (tmp_path / "a.lab").write_text(text)
    with pytest.raises(TaskError, match=re.escape(said)):
        kind.read(tmp_path / "a.lab")


def test_declared_labels_are_the_task_s_and_found_ones_are_sorted(tmp_path):
    (tmp_path / "0.lab").write_text("0 1 b\n1 2 a\n")
    rows = [{"path": f"{n}.wav", "target": "0.lab", "split": s, "group": n}
            for n, s in enumerate(("train", "valid", "test"))]  # fmt: skip
    declared = load(str(write_task(tmp_path, "one", "segments", rows, targets=["c", "b", "a"])))
    assert declared.labels == ("a", "b", "c")
    found = load(str(write_task(tmp_path, "two", "segments", rows)))
    targets = [clip.target for clip in found.clips(tmp_path)]
    assert kinds.of(found).labels(targets) == ("a", "b")


@pytest.mark.parametrize("kind", [SEGMENTS, STRUCTURE])
def test_what_is_written_comes_in_again(tmp_path, kind):
    truth = SUNG if kind is SEGMENTS else SONG
    task = task_of(kind.name, kind.names())
    prediction = Prediction(tmp_path / "a.wav", task, 30.0, events=kind.as_events(truth))
    (tmp_path / "a.lab").write_text(kind.files(prediction)[".lab"])
    assert kind.read(tmp_path / "a.lab") == truth
    assert kind.rows(prediction)[0] == {"start_s": 0.0, "end_s": truth[0][1],
                                        kind.noun: truth[0][2]}  # fmt: skip


@pytest.mark.parametrize("name", ["segments", "structure"])
def test_planted_labels_are_found_from_audio_to_prediction(tmp_path, name):
    """High and low tones and noise: a linear head on a mel spectrogram tells when each sounds."""
    rng = np.random.default_rng(0)
    at, rows = np.arange(8000) / 16000, []
    sounds = {
        "high": lambda: np.sin(2 * np.pi * 2000 * at),
        "low": lambda: np.sin(2 * np.pi * 300 * at),
        "noise": lambda: 0.5 * rng.normal(size=len(at)),
    }
    for n in range(25):
        labels = [list(sounds)[k] for k in rng.integers(0, 3, 6)]
        audio = 0.2 * np.concatenate([sounds[label]() for label in labels])
        soundfile.write(tmp_path / f"{n}.wav", audio, 16000)
        lines, start = [], 0
        for end in range(1, 7):  # equal neighbours are one
            if end == 6 or labels[end] != labels[start]:
                lines.append(f"{start / 2} {end / 2} {labels[start]}")
                start = end
        (tmp_path / f"{n}.lab").write_text("\n".join(lines))
        split = ("train", "train", "train", "valid", "test")[n % 5]
        rows.append({"path": f"{n}.wav", "target": f"{n}.lab", "split": split, "group": str(n)})
    toml = str(write_task(tmp_path, "sounds", name, rows))
    here = api.RunOptions(jobs=0)
    api.extract([toml], ["logmel"], data=tmp_path, features=tmp_path / "f", options=here)
    protocol = Protocol(name="quick", hidden=0, learning_rates=(5e-2,), seeds=1, max_epochs=20)
    (done,) = api.probe([toml], features=tmp_path / "f", results=tmp_path / "r", protocol=protocol)
    result = done.result
    assert result.task.labels == ("high", "low", "noise")
    assert set(kinds.named(name).metrics) <= set(result.scores)
    assert result.ranked.mean > result.chance[result.task.ranked] + 0.6
    predictions = api.predict(done.path, [tmp_path / "4.wav"], options=here)
    ((prediction, files),) = api.save_predictions(predictions, tmp_path / "out", plots=True)
    assert {path.suffix for path in files} >= {".lab", ".jams", ".png"}
    kind = kinds.named(name).with_labels(result.task.labels)
    assert kind.score(kind.read(tmp_path / "4.lab"), prediction.events)[kind.metrics[0]] > 0.6
