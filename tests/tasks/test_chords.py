"""Chords: labels become classes of frames by Harte's grammar, and mir_eval says how right they
are.
"""

import json
import re

import mir_eval
import numpy as np
import pytest
import soundfile
import torch
from planted import write_task

from svuprobe import api
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.chord_labels import CLASSES, METRICS, class_of
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Clip, TaskError

CHORDS = kinds.named("chords")
SONG = ((0.0, 1.0, "N"), (1.0, 3.0, "C:maj"), (3.0, 4.0, "A:min7/b3"), (4.0, 5.0, "G:sus4"))


def estimate(*rows):
    return np.array([(start, end, CLASSES.index(name)) for start, end, name in rows])


# -- classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("N", "N"),
        ("C", "C:maj"),
        ("C:maj/5", "C:maj"),
        ("Db:min", "C#:min"),
        ("Cb:7", "B:7"),
        ("G:9", "G:7"),
        ("G:9(13)/3", "G:7"),
        ("E:maj6", "E:maj"),
        ("E:min6", "E:min"),
        ("F:maj9", "F:maj7"),
        ("A:min9", "A:min7"),
        ("A:minmaj7", "A:min"),
        ("D:(1,3,5)", "D:maj"),
        ("X", None),
        ("D:sus4", None),
        ("D:dim", None),
        ("D:hdim7", None),
        ("D:aug", None),
        ("D:5", None),
    ],
)
def test_labels_have_the_class_of_their_triad_and_seventh(label, name):
    assert class_of(label) == (-1 if name is None else CLASSES.index(name))


def test_mir_eval_takes_each_class_for_itself_alone():
    assert len(CLASSES) == len(set(CLASSES)) == 61
    for number, name in enumerate(CLASSES):
        assert class_of(name) == number
        right = mir_eval.chord.sevenths([name] * 61, list(CLASSES))
        assert np.flatnonzero(right).tolist() == [number]


# -- frames ----------------------------------------------------------------------------------------


def test_frames_have_the_chord_at_their_centre():
    times = np.array([0.5, 1.0, 2.9, 3.5, 4.5, 9.0])
    names = ["N", "C:maj", "C:maj", "A:min7", None, "N"]
    expected = [-1 if name is None else CLASSES.index(name) for name in names]
    assert CHORDS.rasterise(SONG, times).tolist() == expected


def test_labels_decode_to_what_they_were_made_of():
    times = np.arange(0.01, 4.0, 0.02)
    classes = CHORDS.rasterise(SONG, times)
    logits = 9.0 * torch.eye(61)[torch.from_numpy(classes.astype(int))][None]
    (found,) = CHORDS.decode(None, logits, times)
    expected = estimate((0, 1, "N"), (1, 3, "C:maj"), (3, 4, "A:min7"))
    np.testing.assert_allclose(found, expected, atol=0.011)
    assert CHORDS.decode(None, torch.zeros(1, 0, 61), np.zeros(0))[0].shape == (0, 3)


def test_the_gradient_is_that_of_the_loss_and_unknown_chords_teach_nothing():
    outputs = torch.randn((3, 12, 61), generator=torch.Generator().manual_seed(0))
    targets = torch.arange(12) * 5 - 1
    asked = outputs.clone().requires_grad_()
    CHORDS.loss(asked, targets).sum().backward()
    gradient = CHORDS.gradient(outputs.clone(), targets)
    torch.testing.assert_close(gradient, asked.grad)
    assert targets[0] == -1
    assert not gradient[:, 0].any()


# -- scores ----------------------------------------------------------------------------------------


def test_scores_are_mir_eval_s():
    est = estimate((0, 0.5, "N"), (0.5, 2, "C:maj7"), (2, 3.5, "A:min"), (3.5, 5, "G:7"))
    spans = np.array([row[:2] for row in SONG])
    expected = mir_eval.chord.evaluate(
        spans, [row[2] for row in SONG], est[:, :2], [CLASSES[int(k)] for k in est[:, 2]]
    )
    found = CHORDS.score(SONG, est)
    assert found == pytest.approx({name: expected[name] for name in METRICS})
    # By hand: of four seconds that majmin can compare, N .5, C 1.0, A .5 are right.
    assert found["majmin"] == pytest.approx(2.0 / 4)


def test_a_perfect_answer_is_1_and_silence_is_right_where_nothing_sounds():
    perfect = CHORDS.as_events(SONG)
    assert CHORDS.score(SONG[:3], perfect) == dict.fromkeys(METRICS, 1.0)
    # No measure of triads compares a suspended chord; its root is one of five seconds.
    assert CHORDS.score(SONG, perfect)["majmin"] == 1.0
    assert CHORDS.score((), np.zeros((0, 3)))["root"] == 1
    assert CHORDS.score((), estimate((0, 1, "C:maj")))["root"] == 0
    assert CHORDS.score(((0, 1, "N"),), np.zeros((0, 3))) == dict.fromkeys(METRICS, 1.0)
    assert CHORDS.score(((0, 1, "C"),), np.zeros((0, 3))) == dict.fromkeys(METRICS, 0.0)


def test_nothing_sounds_in_a_gap():
    song = ((0.0, 1.0, "C"), (3.0, 4.0, "C"))
    assert CHORDS.score(song, estimate((0, 4, "C:maj")))["majmin"] == 0.5
    times = np.array([0.5, 2.0, 3.5])
    assert (CHORDS.rasterise(song, times) > 0).tolist() == [True, False, True]


# -- own data and predictions ----------------------------------------------------------------------


def test_lab_files_are_read_and_cut(tmp_path):
    (tmp_path / "a.lab").write_text("1.0\t3.0\tC:maj\n0.0\t1.0\tN\n3.0\t4.0\tA:min7/b3\n")
    assert CHORDS.read(tmp_path / "a.lab") == SONG[:3]
    assert CHORDS.cut(SONG, 2.0, 3.5) == ((0.0, 1.0, "C:maj"), (1.0, 1.5, "A:min7/b3"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 1 H:maj\n", ":1: chord 'H:maj'"),
        ("0 1 N\n1 2\n", ":2: 2 fields; a chord is start_s end_s label"),
        ("0 1 N\n2 1 C\n", ":2: end 1 s is not after start 2 s"),
        ("0 3 N\n1 4 C\n", "C begins at 1 s, while N lasts to 3 s"),
        ("a 1 N\n", "chord 'a' is not a number"),
    ],
)
def test_a_lab_file_that_can_t_be_is_named(tmp_path, text, said):
    (tmp_path / "a.lab").write_text(text)
    with pytest.raises(TaskError, match=re.escape(said)):
        CHORDS.read(tmp_path / "a.lab")


def test_much_time_without_a_class_is_said():
    clips = [Clip("a", "a.wav", "train", SONG, "a")]
    (said,) = CHORDS.doubts(clips)
    assert said.startswith("20 % of the time has chords that are neither major nor minor")


def test_what_is_written_comes_in_again(tmp_path):
    task = type("", (), {"name": "song", "kind": "chords", "labels": None})()
    prediction = Prediction(tmp_path / "a.wav", task, 4.0, events=CHORDS.as_events(SONG))
    files = CHORDS.files(prediction)
    (tmp_path / "a.lab").write_text(files[".lab"])
    again = CHORDS.read(tmp_path / "a.lab")
    assert [row[2] for row in again] == ["N", "C:maj", "A:min7"]
    (annotation,) = json.loads(files[".jams"])["annotations"]
    assert annotation["namespace"] == "chord"
    assert CHORDS.cells(prediction) == ["3", "C:maj"]


def test_planted_chords_are_found_from_audio_to_prediction(tmp_path):
    """Major and minor triads of three roots: a linear head on chroma names them."""
    rng = np.random.default_rng(0)
    rows, at = [], np.arange(8000) / 16000
    triads = {"maj": (0, 4, 7), "min": (0, 3, 7)}
    for n in range(25):
        sounds, lines = [], []
        for part in range(4):
            root, quality = ("C", "E", "Ab")[rng.integers(3)], ("maj", "min")[rng.integers(2)]
            low = 48 + ("C", "E", "Ab").index(root) * 4
            pitches = [low + step for step in triads[quality]]
            sounds.append(sum(np.sin(2 * np.pi * 440 * 2 ** ((m - 69) / 12) * at) for m in pitches))
            lines.append(f"{part / 2} {(part + 1) / 2} {root}:{quality}")
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * np.concatenate(sounds), 16000)
        (tmp_path / f"{n}.lab").write_text("\n".join(lines))
        split = ("train", "train", "train", "valid", "test")[n % 5]
        rows.append({"path": f"{n}.wav", "target": f"{n}.lab", "split": split, "group": str(n)})
    toml = str(write_task(tmp_path, "song", "chords", rows))
    here = api.RunOptions(jobs=0)
    api.extract([toml], ["chroma"], data=tmp_path, features=tmp_path / "f", options=here)
    protocol = Protocol(name="quick", hidden=0, learning_rates=(5e-2,), seeds=1, max_epochs=30)
    (done,) = api.probe([toml], features=tmp_path / "f", results=tmp_path / "r", protocol=protocol)
    assert tuple(done.result.scores) == METRICS
    assert done.result.ranked.mean > done.result.chance["majmin"] + 0.5
    predictions = api.predict(done.path, [tmp_path / "4.wav"], options=here)
    ((prediction, files),) = api.save_predictions(predictions, tmp_path / "out", plots=True)
    assert {path.suffix for path in files} >= {".lab", ".jams", ".png"}
    truth = CHORDS.read(tmp_path / "4.lab")
    assert CHORDS.score(truth, prediction.events)["majmin"] > 0.5
