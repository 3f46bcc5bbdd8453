"""Crops: where they begin, how long they are, what is done to them, and that targets fit them."""

import math
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from pretraining import RATE, note, recipe_of, recordings_of

from svuprobe._progress import SILENT
from svuprobe.extractors.base import FrameGrid
from svuprobe.pretrain.clusters import make_codes
from svuprobe.pretrain.crops import Crop, Crops, Step
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.pretrain.targets import target_of

GRID = FrameGrid(RATE, 320, 400)
PLAIN = {"speeds": [1.0], "gain_db": 0.0, "crop_s": 1.0, "batch_s": 4.0}


def noise(*seconds, seed=0):
    rng = np.random.default_rng(seed)
    return [0.1 * rng.normal(size=round(s * RATE)) for s in seconds]


def crops_of(tmp_path, arrays, speeds=None, shortest=4240, **changes):
    recipe = recipe_of("small", **PLAIN | changes)
    return Crops(recordings_of(tmp_path, arrays, speeds), recipe, GRID.hop, shortest)


def test_every_crop_begins_on_a_frame_and_lies_in_its_recording(tmp_path):
    crops = crops_of(tmp_path, noise(0.5, 1.0, 1.01, 3.3, 7.77))
    for epoch in range(5):
        for step in crops.epoch(epoch):
            assert step.samples <= RATE
            for crop in step.crops:
                assert crop.offset % 320 == 0
                recording = crops.recordings.recordings[crop.recording]
                assert 0 <= crop.offset <= recording.samples - step.samples


def test_long_recordings_count_by_their_length(tmp_path):
    crops = crops_of(tmp_path, noise(0.5, 1.0, 1.01, 3.3, 7.77))
    counts = Counter(crop.recording for step in crops.epoch(0) for crop in step.crops)
    assert counts == {0: 1, 1: 1, 2: 2, 3: 4, 4: 8}


def test_crops_lie_anywhere(tmp_path):
    crops = crops_of(tmp_path, noise(5.0))
    offsets = [c.offset for epoch in range(60) for s in crops.epoch(epoch) for c in s.crops]
    assert min(offsets) < 0.2 * RATE
    assert max(offsets) > 3.8 * RATE
    assert np.mean(offsets) == pytest.approx(2.0 * RATE, rel=0.1)


def test_an_epoch_takes_one_of_the_speeds_of_each_recording(tmp_path):
    recordings = recordings_of(tmp_path, noise(1, 1, 1), [0.9, 1.0, 1.1])
    listed = [r.__class__(**{**vars(r), "path": "one.wav"}) for r in recordings.recordings]
    recordings.recordings = tuple(listed)
    crops = Crops(recordings, recipe_of("small", **PLAIN), 320, 4240)
    taken = []
    for epoch in range(40):
        (step,) = crops.epoch(epoch)
        (crop,) = step.crops
        taken.append(crop.recording)
    assert set(taken) == {0, 1, 2}


def test_steps_hold_about_batch_s_of_crops_of_like_length(tmp_path):
    rng = np.random.default_rng(0)
    seconds = rng.uniform(0.3, 2.0, 200)
    crops = crops_of(tmp_path, noise(*seconds), crop_s=1.0, batch_s=8.0)
    steps = crops.epoch(0)
    sizes = [len(step.crops) * step.samples / RATE for step in steps]
    assert max(sizes) <= 1.5 * 8.0
    assert np.median(sizes) > 4.0
    total = sum(math.ceil(s) for s in seconds)
    assert sum(len(step.crops) for step in steps) == total
    for step in steps:
        lengths = [min(crops.recordings.recordings[c.recording].samples, RATE) for c in step.crops]
        assert step.samples == min(lengths)
        assert max(lengths) <= 1.6 * min(lengths)


def test_epochs_differ_and_follow_from_the_seed(tmp_path):
    arrays = noise(1.0, 2.5, 3.0)
    first, again = (crops_of(tmp_path, arrays) for _ in range(2))
    other = crops_of(tmp_path, arrays, seed=1)
    assert first.epoch(0) == again.epoch(0)
    assert first.epoch(0) != first.epoch(1)
    assert first.epoch(0) != other.epoch(0)


def test_recordings_that_are_too_short_are_left_out(tmp_path):
    crops = crops_of(tmp_path, noise(0.01, 0.1, 0.5), least_s=0.25)
    assert {c.recording for step in crops.epoch(0) for c in step.crops} == {2}
    with pytest.raises(PretrainError, match="no recording lasts 0.6 s, .* or a lower least_s"):
        crops_of(tmp_path, noise(0.5), least_s=0.6)
    with pytest.raises(PretrainError, match="no recording lasts 0.265 s"):
        crops_of(tmp_path, noise(0.2), least_s=0.05)


# What is done to them


def test_a_crop_without_augmentation_is_the_recording(tmp_path):
    crops = crops_of(tmp_path, noise(3.0, 3.0))
    step = Step((Crop(1, 6400), Crop(0, 0)), 16_000)
    audio = crops.audio(step, 0, slice(0, 2))
    assert audio.dtype == np.float32
    first, second = crops.recordings.recordings
    assert np.array_equal(audio[0], crops.recordings.read(second)[6400 : 6400 + 16_000])
    assert np.array_equal(audio[1], crops.recordings.read(first)[:16_000])


def test_gain_changes_the_level_by_up_to_so_many_decibels(tmp_path):
    crops = crops_of(tmp_path, noise(1.0) * 64, gain_db=6.0)
    step = Step(tuple(Crop(n, 0) for n in range(64)), 16_000)
    changes = []
    for number in range(10):
        audio = crops.audio(step, number, slice(0, 64))
        for row, crop in zip(audio, step.crops, strict=True):
            plain = crops.recordings.read(crops.recordings.recordings[crop.recording])
            factor = row @ plain / (plain @ plain)
            assert np.allclose(row, factor * plain, atol=1e-6)
            changes.append(20 * np.log10(factor))
    assert -6 <= min(changes) < -5.5
    assert 5.5 < max(changes) <= 6
    assert np.mean(changes) == pytest.approx(0, abs=0.5)


def test_another_crop_is_added_so_many_decibels_below(tmp_path):
    crops = crops_of(
        tmp_path, noise(*[1.0] * 32), mix_probability=0.5, mix_least_db=5.0, mix_most_db=20.0
    )
    step = Step(tuple(Crop(n, 0) for n in range(32)), 16_000)
    plain = [crops.recordings.read(r) for r in crops.recordings.recordings]
    levels, mixed = [], 0
    for number in range(6):
        audio = crops.audio(step, number, slice(0, 32))
        for row, own in zip(audio, plain, strict=True):
            added = row.astype(float) - own
            if not added.any():
                continue
            mixed += 1
            levels.append(10 * np.log10(np.mean(own**2) / np.mean(added**2)))
            # What is added is one of the others.
            likeness = [abs(np.corrcoef(added, other)[0, 1]) for other in plain]
            assert max(likeness) > 0.999
            assert plain[int(np.argmax(likeness))] is not own
    assert mixed / (6 * 32) == pytest.approx(0.5, abs=0.12)
    assert 5 - 1e-3 <= min(levels) < 6.5
    assert 18.5 < max(levels) <= 20 + 1e-3


def test_a_silent_crop_may_be_mixed_in_or_to(tmp_path):
    crops = crops_of(tmp_path, [np.zeros(RATE), *noise(1.0)], mix_probability=1.0)
    audio = crops.audio(Step((Crop(0, 0), Crop(1, 0)), RATE), 0, slice(0, 2))
    assert np.isfinite(audio).all()


def test_a_recording_is_normalised_as_fairseq_does(tmp_path):
    """The layer norm of the whole recording, of which a crop is cut then."""
    audio = 0.05 + 0.2 * np.random.default_rng(0).normal(size=2 * RATE) * np.linspace(
        0, 1, 2 * RATE
    )
    crops = crops_of(tmp_path, [audio], normalize=True)
    whole = torch.from_numpy(crops.recordings.read(crops.recordings.recordings[0]))
    wanted = torch.nn.functional.layer_norm(whole, whole.shape)[3200 : 3200 + RATE]
    crop = crops.audio(Step((Crop(0, 3200),), RATE), 0, slice(0, 1))[0]
    assert crop == pytest.approx(wanted.numpy(), abs=1e-5)


def test_parts_of_a_step_hear_what_the_whole_step_does(tmp_path):
    crops = crops_of(tmp_path, noise(*[1.0] * 7), gain_db=6.0, mix_probability=0.7)
    step = Step(tuple(Crop(n, 0) for n in range(7)), 16_000)
    whole = crops.audio(step, 5, slice(0, 7))
    parts = [crops.audio(step, 5, part) for part in (slice(0, 2), slice(2, 3), slice(3, 7))]
    assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(crops.audio(step, 6, slice(0, 7)), whole)


# Targets of crops


def melody(seconds, seed):
    rng = np.random.default_rng(seed)
    count = round(seconds / 0.25)
    return np.concatenate([note(220 * 2 ** (k / 12), 0.25) for k in rng.integers(0, 24, count)])


# Frames at either end of a crop whose target sees audio beyond it: two differences see four frames
# of 10 ms on either side, a semitone frame 128 ms.
@pytest.mark.parametrize(
    ("name", "edge"), [("mfcc39:16", 2), ("mfcc60:16", 2), ("semitone72:8", 6), ("chroma12:8", 6)]
)
def test_codes_of_a_crop_are_those_of_the_same_place_in_the_recording(tmp_path, name, edge):
    recordings = recordings_of(tmp_path / "audio", [melody(2.0, 0), melody(3.0, 1)])
    recipe = recipe_of("small", cluster_share=1.0, cluster_inits=1)
    target = target_of(name, "", None)
    codes = make_codes(recordings, target, recipe, tmp_path, SILENT)
    crops = Crops(recordings, recipe_of("small", **PLAIN), GRID.hop, 4240)
    compared = 0
    for step in crops.epoch(0):
        frames = GRID.n_frames(step.samples)
        for crop in step.crops:
            told = codes.of_crop(crop.recording, crop.offset, frames)
            audio = recordings.read(
                recordings.recordings[crop.recording], crop.offset, step.samples
            )
            # Clustered as a recording of its own, by the same centroids.
            alone = recordings_of(tmp_path / "alone", [audio])
            features = target.features(torch.from_numpy(alone.read(alone.recordings[0])))
            features = features[:: target.every].numpy()[:frames]
            (path,) = tmp_path.glob("targets-*.h5")
            with h5py.File(path) as file:
                centroids = file["centroids"][:]
            distances = ((features[:, None] - centroids) ** 2).sum(axis=-1)
            inside = slice(edge, frames - edge)
            assert np.array_equal(distances.argmin(axis=1)[inside], told[inside])
            assert len(told) == frames
            compared += 1
    assert compared == 5


def test_the_last_target_is_repeated_where_the_network_has_a_frame_more(tmp_path):
    recordings = recordings_of(tmp_path / "audio", [melody(1.0, 0)])
    recipe = recipe_of("small", cluster_share=1.0, cluster_inits=1)
    codes = make_codes(recordings, target_of("mfcc39:4", "", None), recipe, tmp_path, SILENT)
    frames = GRID.n_frames(RATE)
    assert len(codes.codes) == frames
    told = codes.of_crop(0, 0, frames + 2)
    assert np.array_equal(told[:frames], codes.codes)
    assert (told[frames:] == codes.codes[-1]).all()
