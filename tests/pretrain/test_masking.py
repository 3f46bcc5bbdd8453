"""Masks: how much is hidden and in which spans, by combinatorics rather than by the code."""

from math import comb

import numpy as np
import pytest

from svuprobe.pretrain.masking import mask_frames

PAPERS = [(p, span) for p in (0.5, 0.65, 0.8) for span in (5, 10, 15)]


def share_of(frames, p, span):
    """The expected share of masked frames of one clip by fairseq's rule.

    ``k`` different starts are drawn of the first ``frames - span``, and each masks ``span`` frames
    from it on; ``k`` is ``p * frames / span``, rounded up as often as its fraction says.
    """
    starts = frames - span
    whole, fraction = divmod(p * frames / span, 1)
    total = 0.0
    for k, weight in ((int(whole), 1 - fraction), (int(whole) + 1, fraction)):
        for frame in range(frames):
            covering = min(frame, starts - 1) - max(0, frame - span + 1) + 1
            total += weight * (1 - comb(starts - covering, k) / comb(starts, k))
    return total / frames


def runs(row):
    """Lengths of the masked stretches of a clip."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def drawn(clips, frames, p, span, least=1, seed=0):
    rng = np.random.default_rng(seed)
    return mask_frames(rng, clips, frames, probability=p, span=span, least=least)


@pytest.mark.parametrize(("p", "span"), PAPERS)
def test_the_share_of_masked_frames_is_what_spans_that_may_overlap_cover(p, span):
    shares = [drawn(1, 250, p, span, seed=seed).mean() for seed in range(300)]
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(share_of(250, p, span), abs=4 * error + 1e-9)


def test_data2vec_masks_half_of_the_frames_and_not_65_percent():
    assert share_of(1499, 0.65, 10) == pytest.approx(0.49, abs=0.005)  # a crop of 30 s
    shares = [drawn(1, 1499, 0.65, 10, seed=seed).mean() for seed in range(50)]
    assert np.mean(shares) == pytest.approx(0.49, abs=0.01)


@pytest.mark.parametrize(("p", "span"), PAPERS)
def test_stretches_of_a_single_clip_are_whole_spans(p, span):
    for seed in range(20):
        lengths = runs(drawn(1, 200, p, span, seed=seed)[0])
        assert lengths.min() >= span
        spans = round(p * 200 / span)
        assert len(lengths) <= spans + 1
        assert lengths.sum() <= (spans + 1) * span


def test_every_clip_of_a_batch_has_as_many_masked_frames():
    for seed in range(20):
        counts = drawn(16, 120, 0.65, 10, seed=seed).sum(axis=1)
        assert len(set(counts)) == 1
        # As many as the clip with the most overlaps: less than what one clip has on average.
        assert counts[0] / 120 < share_of(120, 0.65, 10)


def test_clips_of_a_batch_are_masked_at_different_places():
    mask = drawn(16, 120, 0.65, 10)
    assert len({row.tobytes() for row in mask}) == 16


@pytest.mark.parametrize("least", [1, 2, 5])
def test_there_are_at_least_so_many_spans(least):
    for seed in range(20):
        masked = drawn(1, 300, 0.001, 10, least=least, seed=seed).sum()
        assert 10 + least - 1 <= masked <= 10 * least


def test_the_number_of_spans_is_rounded_up_as_often_as_its_fraction():
    # 0.65 * 20 / 10 = 1.3 spans; a frame more than one span's is two spans.
    masked = [drawn(1, 20, 0.65, 10, seed=seed).sum() for seed in range(1000)]
    assert np.mean(np.array(masked) > 10) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("frames", [*range(2, 25), 49])
@pytest.mark.parametrize("span", [1, 5, 10, 15])
def test_of_the_shortest_crops_something_is_masked_and_something_seen(frames, span):
    for seed in range(10):
        mask = drawn(3, frames, 0.8, span, least=2, seed=seed)
        assert mask.shape == (3, frames)
        assert (mask.sum(axis=1) >= 1).all()
        assert (~mask).sum(axis=1).min() >= 1


def test_the_same_generator_draws_the_same_masks():
    assert np.array_equal(drawn(4, 100, 0.65, 10), drawn(4, 100, 0.65, 10))
    assert not np.array_equal(drawn(4, 100, 0.65, 10), drawn(4, 100, 0.65, 10, seed=1))
