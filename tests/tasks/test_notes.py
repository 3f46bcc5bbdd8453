"""Singing transcription: labels, loss, decoder and scores against golden data and facts about
melodies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from svuprobe.tasks.kinds import transcription as notes
from svuprobe.tasks.types import TaskError

GOLDEN = Path(__file__).parents[1] / "data" / "svt_frames_notes.npz"
SILENCE = [0, 1, 4, 12]
SONGS = range(6)
FPS = 50


def grid(seconds: float, fps: float = FPS) -> np.ndarray:
    return np.arange(round(seconds * fps)) / fps


def one_hot(labels: np.ndarray) -> np.ndarray:
    """The outputs (F, 20) of a network that is right and sure."""
    outputs = np.full((len(labels), notes.N_OUTPUTS), -9.0)
    outputs[:, :2] = np.where(labels[:, :2] == 1, 9.0, -9.0)
    frames = np.arange(len(labels))
    outputs[frames, 2 + labels[:, 2]] = 9.0
    outputs[frames, 7 + labels[:, 3]] = 9.0
    return outputs


def melody(seed: int, n: int = 20) -> np.ndarray:
    """Notes of at least 0.1 s with gaps of at least 0.06 s, in the range of the labels."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.1, 0.6, n), rng.uniform(0.06, 0.4, n)
    offset = np.cumsum(steps[0] + steps[1])
    return np.stack([offset - steps[0], offset, rng.integers(36, 84, n)], axis=1)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as data:
        return dict(data)


# Golden data: the published code's own labels and notes


@pytest.mark.parametrize("song", SONGS)
def test_labels_equal_the_published_ones(golden, song):
    labels = golden[f"song{song}_frame_labels"]
    found = notes.rasterise(golden[f"song{song}_ref_notes"], np.arange(len(labels)) / 49.8)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("song", SONGS)
def test_decoded_notes_equal_the_published_ones(golden, song):
    frames = [
        golden[f"song{song}_{key}"]
        for key in ("onset_prob", "silence_prob", "octave", "pitch_class")
    ]
    found = notes.decode_frames(*frames, np.arange(len(frames[0])) / 49.8)
    np.testing.assert_allclose(found, golden[f"song{song}_decoded_notes"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("song", SONGS)
def test_scores_equal_the_published_ones(golden, song):
    scores = notes.score(golden[f"song{song}_ref_notes"], golden[f"song{song}_decoded_notes"])
    found = [scores[key] for key in ("con_f", "conp_f", "conpoff_f")]
    np.testing.assert_allclose(found, golden["scores_con_conp_conpoff"][song], rtol=0, atol=1e-6)


# Labels


def test_labels_of_one_note_by_hand():
    labels = notes.rasterise([(0.04, 0.10, 69)], grid(0.16))  # A4: octave 2 above C2, class 9
    sounding, ending = [0, 0, 2, 9], [0, 1, 2, 9]
    expected = [SILENCE, SILENCE, [1, 0, 2, 9], sounding, sounding, ending, SILENCE, SILENCE]
    np.testing.assert_array_equal(labels, expected)


def test_a_note_that_begins_where_another_ends_takes_the_frame():
    labels = notes.rasterise([(0.0, 0.04, 60), (0.04, 0.08, 62)], grid(0.1))
    np.testing.assert_array_equal(labels[2], [1, 0, 2, 2])


def test_a_note_shorter_than_a_frame_leaves_the_next_notes_alone():
    neighbours = [(0.2, 0.5, 60), (1.5, 1.9, 64)]
    without = notes.rasterise(neighbours, grid(2))
    labels = notes.rasterise([*neighbours, (1.0, 1.005, 72)], grid(2))
    np.testing.assert_array_equal(labels[50:52], [[1, 0, 3, 0], [0, 1, 3, 0]])
    labels[50:52] = SILENCE
    np.testing.assert_array_equal(labels, without)


def test_a_note_shorter_than_a_frame_just_before_another_does_not_touch_it():
    labels = notes.rasterise([(1.0, 1.005, 72), (1.02, 1.5, 60)], grid(2))
    alone = notes.rasterise([(1.02, 1.5, 60)], grid(2))
    np.testing.assert_array_equal(labels[51:], alone[51:])


def test_overlapping_notes_end_where_the_next_begins():
    notes_ = [(0.2, 1.2, 60), (1.0, 1.4, 64)]
    np.testing.assert_array_equal(
        notes.rasterise(notes_, grid(2)), notes.rasterise([(0.2, 1.0, 60), (1.0, 1.4, 64)], grid(2))
    )


def test_a_note_inside_another_is_followed_by_silence():
    labels = notes.rasterise([(0.2, 1.8, 60), (0.6, 0.8, 64)], grid(2))
    np.testing.assert_array_equal(labels[41:], np.tile(SILENCE, (59, 1)))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_notes_with_one_onset_the_longest_remains(order):
    pair = [(0.2, 0.4, 60), (0.2, 1.0, 64)]
    found = notes.rasterise([pair[i] for i in order], grid(2))
    np.testing.assert_array_equal(found, notes.rasterise(pair[1:], grid(2)))


@pytest.mark.parametrize(
    ("midi", "octave"), [(24, 0), (35, 0), (36, 0), (83, 3), (84, 3), (108, 3)]
)
def test_pitch_beyond_the_octaves_keeps_its_class(midi, octave):
    labels = notes.rasterise([(0.2, 0.4, midi)], grid(1))
    assert labels[10].tolist() == [1, 0, octave, midi % 12]


def test_fractional_midi_is_rounded():
    assert notes.rasterise([(0.2, 0.4, 68.6)], grid(1))[12, 2:].tolist() == [2, 9]


def test_notes_past_the_end_do_not_change_the_song():
    inside = [(0.2, 0.6, 60)]
    beyond = [(1.03, 1.4, 64), (5.0, 6.0, 65)]
    np.testing.assert_array_equal(
        notes.rasterise(inside + beyond, grid(1)), notes.rasterise(inside, grid(1))
    )


def test_a_note_that_ends_past_the_end_sounds_to_the_last_frame():
    assert notes.rasterise([(0.5, 3.0, 60)], grid(1))[-1].tolist() == [0, 0, 2, 0]


def test_a_negative_onset_gives_a_pitch_without_onset():
    labels = notes.rasterise([(-0.5, 0.1, 60), (0.5, 0.7, 62)], grid(1))
    assert labels[0].tolist() == [0, 0, 2, 0]
    assert np.flatnonzero(labels[:, 0]).tolist() == [25]


def test_notes_that_end_before_they_begin_are_left_out():
    labels = notes.rasterise([(0.5, 0.4, 60), (0.6, 0.6, 60)], grid(1))
    np.testing.assert_array_equal(labels, np.tile(SILENCE, (50, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_a_window_are_a_part_of_the_songs(seed):
    song, times = melody(seed), grid(12)
    whole = notes.rasterise(song, times)
    for first in (0, 37, 250):
        np.testing.assert_array_equal(
            notes.rasterise(song, times[first : first + 250]), whole[first : first + 250]
        )


@pytest.mark.parametrize("n_frames", [0, 1])
@pytest.mark.parametrize("song", [[], [(0.1, 0.2, 60)]])
def test_tiny_inputs(n_frames, song):
    assert notes.rasterise(song, np.arange(n_frames) / FPS).tolist() == [SILENCE] * n_frames
    assert notes.decode(np.zeros((n_frames, 20)), np.arange(n_frames) / FPS).shape == (0, 3)


def test_irregular_notes_are_counted():
    song = [
        (-0.1, 0.2, 60),
        (0.3, 0.31, 61),
        (0.5, 0.9, 84),
        (0.8, 1.0, 62),
        (1.0, 1.4, 35.2),
        (2.0, 2.0, 60),
    ]
    counts = notes.irregular(song, 1 / FPS)
    assert counts == {"shorter_than_frame": 2, "overlapping": 1, "out_of_range": 2, "unscored": 2}
    assert set(notes.irregular([], 1 / FPS).values()) == {0}
    assert set(notes.irregular(melody(0), 1 / FPS).values()) == {0}


# Decoder


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fps", [50, 49.8, 75])
def test_a_perfect_network_scores_one(seed, fps):
    song, times = melody(seed), grid(16, fps)
    found = notes.decode(one_hot(notes.rasterise(song, times)), times)
    assert set(notes.score(song, found).values()) == {1.0}


def test_decode_takes_a_tensor_with_gradient():
    song, times = melody(0), grid(16)
    outputs = torch.tensor(one_hot(notes.rasterise(song, times)), requires_grad=True)
    assert len(notes.decode(outputs, times)) == len(song)


def frames(n: int, **events: dict[int, float]) -> list[np.ndarray]:
    """Frames of middle C everywhere, with the given onsets and silences."""
    onset, silence = np.zeros(n), np.zeros(n)
    for values, chosen in ((onset, events.get("onset", {})), (silence, events.get("silence", {}))):
        values[list(chosen)] = list(chosen.values())
    return [onset, silence, np.full(n, 2), np.zeros(n, int)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ({"onset": {10: 0.4}, "silence": {20: 0.5}}, [(10, 20)]),
        ({"onset": {10: 0.39}, "silence": {20: 0.5}}, []),
        ({"onset": {10: 0.9, 13: 0.8}, "silence": {20: 0.5}}, [(10, 20)]),
        ({"onset": {10: 0.9, 14: 0.8}, "silence": {20: 0.5}}, [(10, 14), (14, 20)]),
        ({"onset": {10: 0.9}, "silence": {10: 0.9, 20: 0.49, 22: 0.5}}, [(10, 22)]),
        ({"onset": {10: 0.9}}, [(10, 39)]),
        ({"onset": {38: 0.5, 39: 0.9}}, [(38, 39)]),  # the last frame is in no neighbourhood
        ({"onset": {39: 0.9}}, []),
        ({"silence": {5: 0.9}}, []),
    ],
)
def test_rules_of_the_decoder(events, expected):
    found = notes.decode_frames(*frames(40, **events), grid(0.8))
    assert [(round(a * FPS), round(b * FPS)) for a, b, _ in found] == expected


def test_a_note_without_pitch_is_dropped_and_pitch_is_the_commonest():
    onset, silence, octave, pitch_class = frames(40, onset={5: 1, 15: 1, 25: 1}, silence={35: 1})
    octave[5:15] = 4
    pitch_class[10:15] = 12
    pitch_class[15:22], pitch_class[22:25] = 7, 0
    pitch_class[25:33], octave[33:] = 12, 4  # no pitched frame but for two
    pitch_class[26:28] = 9
    found = notes.decode_frames(onset, silence, octave, pitch_class, grid(0.8))
    assert found[:, 2].tolist() == [67, 69]


def test_the_last_frame_of_an_open_note_votes():
    onset, silence, octave, pitch_class = frames(10, onset={7: 1})
    pitch_class[7:10] = [12, 12, 5]
    assert notes.decode_frames(onset, silence, octave, pitch_class, grid(0.2))[:, 2].tolist() == [
        65
    ]


# Loss


def test_loss_is_the_sum_of_four_terms_for_every_head():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 40, 20, generator=generator)
    targets = torch.tensor(notes.rasterise(melody(1), grid(0.8)), dtype=torch.int64)
    targets[5, 0] = 1
    found = notes.loss(outputs, targets)
    head = outputs[1]
    expected = (
        F.binary_cross_entropy_with_logits(
            head[:, 0], targets[:, 0].float(), pos_weight=torch.tensor(15.0)
        )
        + F.binary_cross_entropy_with_logits(head[:, 1], targets[:, 1].float())
        + F.cross_entropy(head[:, 2:7], targets[:, 2])
        + F.cross_entropy(head[:, 7:], targets[:, 3])
    )
    assert found.shape == (3,)
    torch.testing.assert_close(found[1], expected)


def test_heads_are_independent_and_right_outputs_cost_least():
    labels = notes.rasterise(melody(3), grid(10))
    right = torch.tensor(one_hot(labels))
    outputs = torch.stack([right, right * 0.1, -right]).requires_grad_()
    losses = notes.loss(outputs, torch.tensor(labels))
    assert losses[0] < 1e-2 < losses[1] < losses[2]
    losses[1].backward()
    assert outputs.grad is not None
    assert outputs.grad[[0, 2]].abs().max() == 0
    assert outputs.grad[1].abs().max() > 0


# Scores


def test_an_octave_error_keeps_onsets_and_loses_pitches():
    song = melody(4)
    scores = notes.score(song, song + [0, 0, 12])
    assert scores["con_f"] == 1
    assert scores["conp_f"] == scores["conpoff_f"] == 0
    assert tuple(scores) == notes.METRICS


@pytest.mark.parametrize(
    ("shift", "metric", "expected"),
    [((0.05, 0, 0), "con_f", 1), ((0.052, 0, 0), "con_f", 0), ((0, 0, 0.49), "conp_f", 1)]
    + [((0, 0, 0.52), "conp_f", 0), ((0, 0.19, 0), "conpoff_f", 1), ((0, 0.21, 0), "conpoff_f", 0)],
)
def test_tolerances(shift, metric, expected):
    song = np.array([[1.0, 2.0, 60.0]])
    assert notes.score(song, song + shift)[metric] == expected


def test_precision_and_recall_are_not_swapped():
    song = melody(5)
    scores = notes.score(song, song[:5])
    assert (scores["conpoff_p"], scores["conpoff_r"]) == (1.0, 0.25)


def test_notes_that_cannot_be_scored_are_removed():
    song = melody(6)
    extra = np.array([[-1.0, 0.5, 60], [3.0, 3.0, 60]])
    assert set(notes.score(np.vstack([song, extra]), np.vstack([extra, song])).values()) == {1.0}


def test_empty_songs():
    song = melody(7)
    assert set(notes.score(song, []).values()) == {0.0}
    assert set(notes.score([], song).values()) == {0.0}
    assert set(notes.score(np.empty((0, 3)), []).values()) == {1.0}


# A user's mistakes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: notes.rasterise([(0, 1)], grid(1)), r"notes of shape \(1, 2\)"),
        (lambda: notes.rasterise([(0, np.nan, 60)], grid(1)), r"note 1 is \[0.0, nan, 60.0\]"),
        (lambda: notes.rasterise([], [0.0, 0.0]), "do not ascend"),
        (lambda: notes.score([(0, 1, np.inf)], []), "must be numbers"),
        (lambda: notes.decode(np.zeros((5, 19)), grid(0.1)), r"shape \(5, 19\).*\(frames, 20\)"),
        (lambda: notes.decode(np.zeros((5, 20)), grid(0.2)), "5 frames|10 frame times"),
        (lambda: notes.decode(np.full((5, 20), np.nan), grid(0.1)), "diverged"),
    ],
)
def test_messages(call, message):
    with pytest.raises(TaskError, match=message):
        call()
