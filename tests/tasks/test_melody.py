"""Melody: frames carry the pitch that is sung, and mir_eval's scores say how well it is found."""

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
from svuprobe.tasks import find_clips, folds, kinds, melody
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.kinds import f0
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Clip, TaskError

MELODY = kinds.named("melody")
GRID = np.arange(100) * 0.01


def contour(hz, times=GRID):
    """Rows of time and Hz."""
    return tuple(zip(times.tolist(), np.broadcast_to(hz, len(times)).tolist(), strict=True))


def perfect(labels):
    """Logits (1, F, 361) of a head that knows the labels of frames."""
    places = torch.from_numpy(labels)
    logits = torch.log(f0.blurred(places) + 1e-12)
    voicing = torch.where(places >= 0, 9.0, -9.0)[:, None]
    return torch.cat([voicing, logits], 1)[None]


# -- labels ----------------------------------------------------------------------------------------


def test_a4_lies_45_semitones_above_c1():
    # Five bins a semitone.
    assert f0.rasterise(contour(440.0), GRID) == pytest.approx(45 * 5)
    assert pytest.approx(32.703, abs=1e-3) == f0.LOWEST_HZ
    # CREPE's 360 bins: six octaves less one bin.
    assert pytest.approx(32.703 * 2 ** (359 / 60), abs=0.1) == f0.HIGHEST_HZ


def test_a_glide_is_followed_between_rows_in_cents():
    rows = ((0.0, 220.0), (0.04, 440.0))
    places = f0.rasterise(rows, np.array([0.0, 0.01, 0.02, 0.04]))
    assert places - places[0] == pytest.approx([0, 15, 30, 60])


def test_where_nothing_is_sung_frames_have_no_voice():
    hz = np.where((GRID >= 0.3) & (GRID < 0.6), 220.0, 0.0)
    frames = np.arange(0.005, 1.0, 0.02)
    voiced = f0.rasterise(contour(hz), frames) >= 0
    assert (voiced == ((frames > 0.295) & (frames < 0.595))).all()
    # Neither do frames far from any row, and no row at all says silence.
    assert (f0.rasterise(contour(220.0), np.array([1.05, 1.2, 3.0])) >= 0).tolist() == [1, 0, 0]
    assert (f0.rasterise((), GRID) == -1).all()
    assert (f0.rasterise(((0.5, 220.0),), GRID) >= 0).sum() == 21


def test_pitches_beyond_the_bins_are_at_their_ends_and_are_said():
    assert f0.rasterise(contour(20.0), GRID).max() == 0
    assert f0.rasterise(contour(5000.0), GRID).min() == f0.BINS - 1
    clips = [Clip("a", "a.wav", "train", contour(5000.0), "a")]
    assert list(MELODY.doubts(clips)) == [
        "100 of 100 frequencies lie outside 32.7 to 2069 Hz: heads can't name them, and scores "
        "count them as missed"
    ]
    assert not list(MELODY.doubts([Clip("a", "a.wav", "train", contour(440.0), "a")]))


# -- learning --------------------------------------------------------------------------------------


def test_the_blur_is_a_distribution_whose_mean_is_the_pitch():
    places = torch.tensor([100.0, 100.5, 0.0, 359.0])
    heights = f0.blurred(places)
    assert heights.sum(1) == pytest.approx(1.0)
    assert (heights[:2] * torch.arange(360)).sum(1).tolist() == pytest.approx([100, 100.5])
    # 25 cents are one deviation, 20 a bin.
    assert float(heights[0, 101] / heights[0, 100]) == pytest.approx(np.exp(-0.5 * 0.8**2))


def test_the_gradient_is_that_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn((3, 12, 361), generator=generator)
    targets = torch.where(torch.arange(12) % 3 == 0, -1.0, 20.5 * torch.arange(12))
    asked = outputs.clone().requires_grad_()
    MELODY.loss(asked, targets).sum().backward()
    torch.testing.assert_close(MELODY.gradient(outputs, targets), asked.grad)


def test_a_frame_without_a_voice_teaches_no_pitch():
    outputs = torch.zeros((1, 1, 361))
    gradient = MELODY.gradient(outputs, torch.tensor([-1.0]))
    assert gradient[0, 0, 0] == 0.5
    assert not gradient[0, 0, 1:].any()


# -- decoding and scores ---------------------------------------------------------------------------


def test_labels_decode_to_what_they_were_made_of():
    vibrato = 220 * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 6 * GRID))
    sung = np.where(GRID < 0.8, vibrato, 0.0)
    (found,) = MELODY.decode(None, perfect(f0.rasterise(contour(sung), GRID)), GRID)
    assert found[:, 0].tolist() == GRID.tolist()
    cents = 1200 * np.log2(found[:80, 1] / vibrato[:80])
    assert np.abs(cents).max() < 1
    assert (found[80:, 1] < 0).all()
    assert MELODY.score(contour(sung), found) == pytest.approx(dict.fromkeys(f0.METRICS, 1.0))


def test_an_octave_is_no_pitch_but_the_chroma():
    estimate = np.array(contour(440.0))
    assert MELODY.score(contour(220.0), estimate) == pytest.approx(
        {
            "overall_accuracy": 0.0,
            "raw_pitch_accuracy": 0.0,
            "raw_chroma_accuracy": 1.0,
            "voicing_recall": 1.0,
            "voicing_specificity": 1.0,
        }
    )


def test_pitch_counts_where_the_estimate_denies_a_voice():
    # Raw pitch is of the pitch alone: Poliner et al. 2007.
    estimate = np.array(contour(-220.0))
    scores = MELODY.score(contour(220.0), estimate)
    assert scores["raw_pitch_accuracy"] == 1
    assert scores["voicing_recall"] == scores["overall_accuracy"] == 0


@pytest.mark.parametrize(
    ("reference", "estimate", "expected"),
    [
        (0.0, 0.0, [1, 1, 1, 1, 1]),
        (0.0, 220.0, [0, 0, 0, 0, 0]),
        (220.0, 0.0, [0, 0, 0, 0, 1]),
    ],
)
def test_silence_has_its_scores(reference, estimate, expected):
    scores = MELODY.score(contour(reference), np.array(contour(estimate)))
    assert [scores[name] for name in f0.METRICS] == expected
    if estimate == 0:
        assert MELODY.score(contour(reference), np.zeros((0, 2))) == scores


def test_on_the_reference_s_own_times_scores_are_mir_eval_s():
    rng = np.random.default_rng(0)
    reference = np.where(rng.random(100) < 0.3, 0, 220 * 2 ** rng.uniform(0, 2, 100))
    wrong = reference * 2 ** rng.normal(0, 0.05, 100)
    estimate = np.where(rng.random(100) < 0.2, -220.0, wrong)
    estimate[estimate == 0] = -110.0
    expected = mir_eval.melody.evaluate(GRID, reference, GRID, estimate)
    found = MELODY.score(contour(reference), np.array(contour(estimate)))
    for ours, theirs in (
        ("overall_accuracy", "Overall Accuracy"),
        ("raw_pitch_accuracy", "Raw Pitch Accuracy"),
        ("raw_chroma_accuracy", "Raw Chroma Accuracy"),
        ("voicing_recall", "Voicing Recall"),
    ):
        assert found[ours] == pytest.approx(expected[theirs]), ours
    assert found["voicing_specificity"] == pytest.approx(1 - expected["Voicing False Alarm"])


def test_frames_of_40_ms_are_not_late():
    # A scale of a semitone every 200 ms, heard by frames that stand at their centres.
    times = np.arange(0, 4, 0.0058)
    pitch = 220 * 2 ** (np.floor(times / 0.2) / 12)
    frames = np.arange(0.02, 4, 0.04)
    heard = np.array(contour(220 * 2 ** (np.floor(frames / 0.2) / 12), frames))
    assert MELODY.score(contour(pitch, times), heard)["raw_pitch_accuracy"] > 0.9


# -- own data and predictions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.0,220\n0.1\n", ":2: 1 field; a row is time_s,f0_hz"),
        ("0.0,220\n0.0,230\n", "two frequencies at 0 s; a melody is one voice"),
        ("0.0,abc\n", "frequency 'abc' is not a number"),
        ("-1,220\n", ":1: time -1 s is not from 0 to"),
    ],
)
def test_a_contour_that_can_t_be_is_named(tmp_path, text, said):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(TaskError, match=re.escape(said)):
        MELODY.read(tmp_path / "f.csv")


@pytest.mark.parametrize("text", ["time,f0\n0.1,0\n0.0,220.5\n", "0.0\t220.5\n0.1\t-110\n"])
def test_contours_are_read_as_mirex_and_vocadito_write_them(tmp_path, text):
    (tmp_path / "f.csv").write_text(text)
    assert MELODY.read(tmp_path / "f.csv") == ((0.0, 220.5), (0.1, 0.0))


def test_what_is_written_comes_in_again(tmp_path):
    task = type("", (), {"name": "tune", "kind": "melody", "labels": None})()
    events = np.array([[0.0, 220.0], [0.02, -219.0]])
    files = MELODY.files(Prediction(tmp_path / "a.wav", task, 0.04, events=events))
    (tmp_path / "a.f0.csv").write_text(files[".f0.csv"])
    assert MELODY.read(tmp_path / "a.f0.csv") == ((0.0, 220.0), (0.02, 0.0))
    (annotation,) = json.loads(files[".jams"])["annotations"]
    assert annotation["namespace"] == "pitch_contour"
    assert [one["value"]["voiced"] for one in annotation["data"]] == [True, False]


# -- the tasks -------------------------------------------------------------------------------------


def vocadito(root, singers):
    """Lay excerpts out as vocadito's, one of each name in turn."""
    for folder in ("Audio", "Annotations/F0"):
        (root / folder).mkdir(parents=True)
    rows = ["track_id,singer_id,average_pitch,language"]
    for track, singer in enumerate(singers, start=1):
        rows.append(f"{track},{singer},60,English")
        (root / "Audio" / f"vocadito_{track}.wav").touch()
        (root / "Annotations/F0" / f"vocadito_{track}_f0.csv").write_text("0.0,220.0\n0.1,0.0\n")
    (root / melody.METADATA).write_text("\n".join(rows))
    return root


def test_all_of_vocadito_is_tested_in_five_folds_of_other_singers(tmp_path):
    # 40 excerpts of 29 singers, some of whom sing two or three.
    singers = [f"S{1 + n % 29}" for n in range(38)] + ["S1", "S1"]
    clips = find_clips(melody.TASK, vocadito(tmp_path, singers))
    sizes = [sum(clip.fold == name for clip in clips) for name in folds.names(clips)]
    assert sizes == [8, 8, 8, 8, 8]
    before = {clip.id: clip.fold for clip in clips}
    (tmp_path / "Audio" / "vocadito_1.wav").unlink()
    rest = find_clips(melody.TASK, tmp_path)
    assert {clip.id: clip.fold for clip in rest} == {k: before[k] for k in before if k[-2:] != "_1"}


def test_the_list_of_medleydb_keeps_artists_apart():
    rows = split_lists.read(melody.MEDLEYDB_SPLIT)
    counts = dict.fromkeys(melody.MEDLEYDB.expected, 0)
    split_of = {}
    for row in rows:
        counts[row["split"]] += 1
        assert split_of.setdefault(row["artist"], row["split"]) == row["split"]
    assert counts == melody.MEDLEYDB.expected
    assert len({row["track_id"] for row in rows}) == 107
    assert len({artist for artist, split in split_of.items() if split == "test"}) == 14


def test_songs_of_medleydb_are_found_with_the_second_melody(tmp_path):
    for folder in ("audio", "melody2"):
        (tmp_path / folder).mkdir()
    # Of the last there is a melody in no split.
    for track in ("AimeeNorwich_Child", "Phoenix_ScotchMorris", "MusicDelta_Rock"):
        (tmp_path / "audio" / f"{track}_MIX.wav").touch()
        (tmp_path / "melody2" / f"{track}_MELODY2.csv").write_text("0.0,0.0\n0.0058,256.65\n")
    clips = {clip.id: clip for clip in find_clips(melody.MEDLEYDB, tmp_path)}
    assert {name: clip.split for name, clip in clips.items()} == {
        "AimeeNorwich_Child": "train",
        "Phoenix_ScotchMorris": "test",
    }
    assert clips["Phoenix_ScotchMorris"].target == ((0.0, 0.0), (0.0058, 256.65))
    assert clips["Phoenix_ScotchMorris"].group == "Phoenix"


def test_planted_tones_are_found_from_audio_to_prediction(tmp_path):
    """Tones of five pitches with rests: a linear head on a mel spectrogram names them."""
    rng = np.random.default_rng(0)
    rows, seconds = [], np.arange(2 * 16000) / 16000
    for n in range(25):
        pitches = 220 * 2 ** (rng.integers(0, 5, 4) * 3 / 12)
        pitches[n % 4] = 0
        hz = np.repeat(pitches, len(seconds) // 4)
        phase = 2 * np.pi * np.cumsum(hz) / 16000
        sound = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * (hz > 0)
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * sound, 16000)
        grid = np.arange(0, 2, 0.01)
        lines = [f"{t:.2f},{hz[round(t * 16000)]:.2f}" for t in grid]
        (tmp_path / f"{n}.csv").write_text("\n".join(lines))
        split = ("train", "train", "train", "valid", "test")[n % 5]
        rows.append({"path": f"{n}.wav", "target": f"{n}.csv", "split": split, "group": str(n)})
    toml = str(write_task(tmp_path, "tune", "melody", rows))
    here = api.RunOptions(jobs=0)
    api.extract([toml], ["logmel"], data=tmp_path, features=tmp_path / "f", options=here)
    protocol = Protocol(name="quick", hidden=0, learning_rates=(5e-2,), seeds=1, max_epochs=30)
    (done,) = api.probe([toml], features=tmp_path / "f", results=tmp_path / "r", protocol=protocol)
    assert tuple(done.result.scores)[: len(f0.METRICS)] == f0.METRICS
    assert done.result.ranked.mean > done.result.chance["overall_accuracy"] + 0.4
    assert done.result.scores["raw_pitch_accuracy"].mean > 0.8
    predictions = api.predict(done.path, [tmp_path / "4.wav"], options=here)
    ((prediction, files),) = api.save_predictions(predictions, tmp_path / "out", plots=True)
    assert {"".join(path.suffixes) for path in files} >= {".f0.csv", ".jams", ".png"}
    truth = MELODY.read(tmp_path / "4.csv")
    assert MELODY.score(truth, prediction.events)["overall_accuracy"] > 0.7
