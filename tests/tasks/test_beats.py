"""Beat tracking: labels, loss, both decoders and scores against golden data and facts about
beats.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from madmom_infer.features.beats_hmm import BeatStateSpace, BeatTransitionModel
from madmom_infer.ml.hmm import HiddenMarkovModel, ObservationModel

from svuprobe.tasks.kinds import beat_tracking as beats, dbn
from svuprobe.tasks.types import TaskError

GOLDEN = Path(__file__).parents[1] / "data" / "madmom_dbn_beats.npz"
FPS = 50


def clicks(times: np.ndarray, seconds: float, fps: float = FPS) -> np.ndarray:
    """An activation of 0.9 at the beats and 0.02 elsewhere."""
    activation = np.full(round(seconds * fps), 0.02, np.float32)
    activation[np.rint(times * fps).astype(int)] = 0.9
    return activation


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(-2, 1.5, shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as data:
        return dict(data)


# Golden data: madmom's own beats


@pytest.mark.parametrize("fps", [50, 75, 100])
def test_beats_equal_madmoms(golden, fps):
    names = [key.removeprefix("act_") for key in golden if key.startswith(f"act_{fps}_")]
    assert len(names) >= 20
    found = dbn.decode([golden[f"act_{name}"] for name in names], fps)
    for name, times in zip(names, found, strict=True):
        np.testing.assert_array_equal(times, golden[f"beats_{name}"], err_msg=name)


# The network, against a plain search by madmom-infer with other parameters


class Observations(ObservationModel):
    """madmom's observation model, without the bug of madmom-infer's."""

    def __init__(self, space: BeatStateSpace) -> None:
        super().__init__((space.state_positions < 1 / dbn.OBSERVATION_LAMBDA).astype(np.uint32))

    def log_densities(self, observations: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            pair = np.log((1 - observations) / (dbn.OBSERVATION_LAMBDA - 1)), np.log(observations)
        return np.stack(pair, axis=1).astype(float)


def searched(activation: np.ndarray, fps: float) -> np.ndarray:
    space = BeatStateSpace(60 * fps / dbn.MAX_BPM, 60 * fps / dbn.MIN_BPM, None)
    observations = Observations(space)
    model = HiddenMarkovModel(BeatTransitionModel(space, dbn.TRANSITION_LAMBDA), observations)
    path, _ = model.viterbi(activation)
    heard = observations.pointers[path].astype(int)
    edges = np.flatnonzero(np.diff(heard, prepend=0, append=0)).reshape(-1, 2)
    return np.array([left + activation[left:right].argmax() for left, right in edges]) / fps


@pytest.mark.parametrize("fps", [50, 49.8, 12, 3])  # at 3 a beat period has one to three frames
def test_beats_equal_a_plain_search(fps):
    clips = [noise(n, seed=n) for n in (1, 7, 60, 171, 300)]
    found = dbn.decode(clips, fps)
    for clip, times in zip(clips, found, strict=True):
        np.testing.assert_array_equal(times, searched(clip, fps))


def test_exact_zeros_and_ones_equal_a_plain_search():
    clip = noise(400, seed=3)
    clip[::25] = 1.0
    clip[12::25] = 0.0
    np.testing.assert_array_equal(dbn.decode([clip], FPS)[0], searched(clip, FPS))


# Beats


@pytest.mark.parametrize("fps", [50, 100])
def test_clicks_at_120_bpm_are_half_a_second_apart(fps):
    times = np.arange(0.4, 20, 0.5)
    (found,) = dbn.decode([clicks(times, 20, fps)], fps)
    np.testing.assert_allclose(found[: len(times)], times)
    np.testing.assert_allclose(np.diff(found), 0.5)


def test_a_missing_click_is_filled_in():
    times = np.arange(0.4, 20, 0.5)
    (found,) = dbn.decode([clicks(np.delete(times, [10, 20]), 20)], FPS)
    np.testing.assert_allclose(found[: len(times)], times, atol=0.04)


def test_a_batch_equals_one_by_one():
    clips = [noise(n, seed=n) for n in (1, 3, 40, 400, 777, 1500)]
    clips += [np.zeros(100, np.float32), np.empty(0, np.float32), np.full(350, 0.5, np.float32)]
    together = dbn.decode(clips, FPS)
    for clip, times in zip(clips, together, strict=True):
        np.testing.assert_array_equal(times, dbn.decode([clip], FPS)[0])


def test_batches_are_split_without_effect(monkeypatch):
    clips = noise(7, 200)
    together = dbn.decode(clips, FPS)
    monkeypatch.setattr("svuprobe.tasks.kinds.dbn._BATCH_CLIPS", 3)
    for a, b in zip(together, dbn.decode(torch.tensor(clips), FPS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_heard_in_zeros_or_in_nothing():
    assert [len(b) for b in dbn.decode([np.zeros(300), np.empty(0)], FPS)] == [0, 0]
    assert dbn.decode([], FPS) == []


def test_an_impossible_clip_still_has_beats():
    # A beat in every frame: no tempo explains it.
    (found,) = dbn.decode([np.ones(500, np.float32)], FPS)
    assert len(found) > 10
    assert (np.diff(found) > 0).all()


def test_half_precision_is_read_as_single():
    clip = torch.tensor(noise(300)).half()
    np.testing.assert_array_equal(dbn.decode([clip], FPS)[0], dbn.decode([clip.float()], FPS)[0])
    np.testing.assert_array_equal(dbn.decode([clip.numpy()], FPS)[0], dbn.decode([clip], FPS)[0])


def test_decoding_leaves_the_number_of_threads_alone():
    threads = torch.get_num_threads()
    dbn.decode(noise(2, 100), FPS)
    assert torch.get_num_threads() == threads


def test_peaks():
    activation = np.zeros(200)
    activation[[20, 50, 52, 90, 100, 101]] = [0.9, 0.8, 0.7, 0.4, 0.6, 0.6]
    found = beats.pick_peaks(activation, FPS)
    # 52 is near a higher one, 90 too low, 100 equals 101
    np.testing.assert_allclose(found, [0.4, 1.0, 2.01])
    assert beats.pick_peaks(torch.zeros(50), FPS).shape == (0,)
    assert beats.pick_peaks([], FPS).shape == (0,)
    assert len(beats.pick_peaks(activation, FPS, threshold=0.3, window_s=0.0)) == 5


# Labels and loss


def test_labels_are_the_nearest_frame_and_its_neighbours():
    labels = beats.rasterise([0.209, 0.5], np.arange(40) / FPS)
    assert labels.dtype == np.float32
    assert np.flatnonzero(labels).tolist() == [9, 10, 11, 24, 25, 26]
    assert set(labels) == {0.0, 1.0}


def test_labels_at_the_ends_and_beyond():
    labels = beats.rasterise([-3.0, 0.0, 0.79, 9.0], np.arange(40) / FPS)
    assert np.flatnonzero(labels).tolist() == [0, 1, 38, 39]


def test_labels_of_a_window_are_a_part_of_the_tracks():
    times, track = np.arange(500) / FPS, np.sort(np.random.default_rng(0).uniform(0, 10, 25))
    whole = beats.rasterise(track, times)
    for first in range(0, 400, 33):
        np.testing.assert_array_equal(
            beats.rasterise(track, times[first : first + 60]), whole[first : first + 60]
        )


@pytest.mark.parametrize("n_frames", [0, 1])
def test_labels_of_tiny_grids(n_frames):
    assert beats.rasterise([0.0], np.arange(n_frames)).tolist() == [0.0] * n_frames
    assert beats.rasterise([], np.arange(5)).tolist() == [0.0] * 5


def test_loss_is_the_mean_of_every_head():
    outputs = torch.randn(3, 60, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor(beats.rasterise([0.3, 0.8], np.arange(60) / FPS))
    found = beats.loss(outputs, targets)
    assert found.shape == (3,)
    torch.testing.assert_close(
        found[2], F.binary_cross_entropy_with_logits(outputs[2, :, 0], targets)
    )
    found[0].backward()
    assert outputs.grad is not None
    assert outputs.grad[1:].abs().max() == 0


def test_right_outputs_cost_least():
    targets = torch.tensor(beats.rasterise([0.3, 0.8], np.arange(60) / FPS))
    right = (targets * 2 - 1)[:, None]
    losses = beats.loss(torch.stack([9 * right, right, -right]), targets)
    assert losses[0] < 1e-3 < losses[1] < losses[2]


# Scores


def test_perfect_beats_score_one():
    track = np.arange(0.3, 30, 0.5)
    assert beats.score(track, track) == dict.fromkeys(beats.METRICS, 1.0)


def test_the_first_five_seconds_do_not_count():
    track = np.arange(0.3, 30, 0.5)
    assert beats.score(track, track[track > 5])["beat_f"] == 1.0
    assert beats.score(track, np.append(track, [1.11, 2.22]))["beat_f"] == 1.0
    assert beats.score(track, track[track > 5], skip_s=0.0)["beat_f"] < 1.0


def test_windows_and_levels():
    track = np.arange(5.3, 30, 0.5)
    scores = beats.score(track, track + 0.03)
    assert (scores["beat_f"], scores["beat_f_20ms"], scores["cmlt"]) == (1.0, 0.0, 1.0)
    half = beats.score(track, track[::2])
    assert half["cmlt"] == 0.0
    assert half["amlt"] == 1.0
    assert half["beat_f"] == pytest.approx(2 / 3, abs=0.01)


def test_empty_and_single_beats():
    track = np.arange(0.3, 30, 0.5)
    assert set(beats.score(track, []).values()) == {0.0}
    assert set(beats.score([], track).values()) == {0.0}
    assert set(beats.score([], []).values()) == {1.0}
    assert beats.score(track, [10.3])["beat_f"] == pytest.approx(2 / 51)
    assert beats.score([10.3], [10.3]) == {
        "beat_f": 1.0,
        "beat_f_20ms": 1.0,
        "cmlt": 0.0,
        "amlt": 0.0,
    }


# A user's mistakes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dbn.decode([np.array([0.1, np.nan])], FPS), "activation 0 holds NaN"),
        (lambda: dbn.decode([[0.5], [-3.0, 4.0]], FPS), "activation 1 is in -3..4.*sigmoid"),
        (lambda: dbn.decode(np.zeros(5), FPS), r"activation 0 has shape \(\)"),
        (lambda: dbn.decode([], 0), "0 frames/s"),
        (lambda: dbn.decode([], 1), "1 frames/s: no frame per beat at 215 bpm"),
        (lambda: beats.rasterise([np.nan], [0.0, 0.1]), "finite"),
        (lambda: beats.rasterise([], [0.1, 0.0]), "do not ascend"),
        (lambda: beats.score([1.0, 2.0], [1.0]), "last reference beat is at 2 s.*skip_s"),
    ],
)
def test_messages(call, message):
    with pytest.raises(TaskError, match=message):
        call()


def test_pooled_counts_weigh_beats_and_skip_nothing():
    reference, estimate = np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.5, 1.06, 1.4, 2.0, 2.5])
    assert beats.matched(reference, estimate) == (3, 4, 5)
    assert beats.matched([], estimate) == (0, 0, 5)
