"""Learning rates and the teacher's decay against fairseq's schedulers, which are stateful there."""

import math
from dataclasses import replace

import pytest

from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.schedules import learning_rate, teacher_decay

MUSIC2VEC, MUSICHUBERT, SMALL = (PRESETS[n] for n in ("music2vec", "musichubert", "small"))


def tri_stage(update, peak=5e-4, updates=400_000, ratio=(0.03, 0.9, 0.07), scale=0.01):
    """fairseq's TriStageLRSchedule: update numbers to rates, stage by stage."""
    warm, hold, decay = (int(updates * share) for share in ratio)
    if update < warm:
        return scale * peak + (peak - scale * peak) / warm * update
    if update < warm + hold:
        return peak
    if update <= warm + hold + decay:
        return peak * math.exp(math.log(scale) / decay * (update - warm - hold))
    return scale * peak


def polynomial(update, peak=5e-4, updates=400_000, warm=32_000, end=0.0):
    """fairseq's PolynomialDecayLRSchedule with a power of 1."""
    if update <= warm:
        return update / warm * peak
    if update >= updates:
        return end
    return (peak - end) * (1 - (update - warm) / (updates - warm)) + end


@pytest.mark.parametrize(
    "done", [0, 1, 6_000, 11_999, 12_000, 12_001, 200_000, 371_999, 372_000, 386_000, 399_999]
)
def test_music2vec_has_fairseqs_three_stages(done):
    assert learning_rate(MUSIC2VEC, done) == pytest.approx(tri_stage(done), rel=1e-9)


def test_music2vec_starts_and_ends_at_a_hundredth():
    assert learning_rate(MUSIC2VEC, 0) == pytest.approx(5e-6)
    assert learning_rate(MUSIC2VEC, 400_000) == pytest.approx(5e-6)


@pytest.mark.parametrize("done", [0, 1, 16_000, 31_999, 32_000, 32_001, 216_000, 399_999])
def test_musichubert_has_fairseqs_polynomial(done):
    assert learning_rate(MUSICHUBERT, done) == pytest.approx(polynomial(done), rel=1e-9)


def test_other_lengths_keep_the_shares():
    short = replace(MUSIC2VEC, steps=1000)
    assert [learning_rate(short, done) for done in (15, 30, 500, 929)] == pytest.approx(
        [tri_stage(done, updates=1000) for done in (15, 30, 500, 929)]
    )
    short = replace(MUSICHUBERT, steps=100, last_rate=0.1)
    for done in range(100):
        wanted = polynomial(done, updates=100, warm=8, end=5e-5)
        assert learning_rate(short, done) == pytest.approx(wanted)


def test_a_cosine_rises_to_the_whole_rate_and_falls_through_its_middle():
    recipe = replace(SMALL, steps=1000, warmup=0.1, last_rate=0.01, learning_rate=2.0)
    assert learning_rate(recipe, 0) == pytest.approx(2 / 100)
    assert learning_rate(recipe, 49) == pytest.approx(1.0)
    assert learning_rate(recipe, 99) == learning_rate(recipe, 100) == 2.0
    # Half and a third of the way down from 2 to 0.02: cos 90 and 60 degrees.
    assert learning_rate(recipe, 550) == pytest.approx(0.02 + 1.98 * 0.5)
    assert learning_rate(recipe, 400) == pytest.approx(0.02 + 1.98 * 0.75)
    assert learning_rate(recipe, 1000) == pytest.approx(0.02)


@pytest.mark.parametrize("schedule", ["tri_stage", "polynomial", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
def test_the_shortest_trainings_have_rates_too(schedule, steps, warmup):
    recipe = replace(SMALL, schedule=schedule, steps=steps, warmup=warmup)
    for done in range(steps):
        assert 0 <= learning_rate(recipe, done) <= recipe.learning_rate


@pytest.mark.parametrize(
    ("done", "decay"),
    # fairseq's get_annealed_rate: end - (end - start) * (1 - step / steps).
    [(0, 0.999), (1, 0.99900003), (15_000, 0.99945), (29_999, 0.99989997), (30_000, 0.9999)],
)
def test_the_teachers_decay_rises_linearly(done, decay):
    assert teacher_decay(MUSIC2VEC, done) == pytest.approx(decay, abs=1e-12)
    assert teacher_decay(MUSIC2VEC, 10**6) == 0.9999
