"""Beat decoding: svuprobe's batched network against looping madmom-infer's Viterbi, in one run.

``python benchmarks/speed/beats.py [--clips 200] [--seconds 30] [--fps 50] [--loop 20]`` decodes
random activations with both, checks that the beats are the same, and prints the ratio of wall and
CPU seconds per clip. The loop is timed on ``--loop`` of the clips. madmom-infer's own observation
model is broken in 0.2.0, so the loop has a mended one, as in ``tests/tasks/test_beats.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from madmom_infer.features.beats_hmm import BeatStateSpace, BeatTransitionModel
from madmom_infer.ml.hmm import HiddenMarkovModel, ObservationModel

from svuprobe.tasks.kinds import dbn

LAMBDA = 16


class Observations(ObservationModel):
    """madmom's two densities: of beat states log p, of the others log((1 - p) / (lambda - 1))."""

    def __init__(self, space: BeatStateSpace) -> None:
        super().__init__((space.state_positions < 1 / LAMBDA).astype(np.uint32))

    def log_densities(self, observations: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.log((1 - observations) / (LAMBDA - 1)), np.log(observations)], axis=1
        ).astype(float)


def looped(activations: np.ndarray, fps: float) -> list[np.ndarray]:
    """One clip after the other, each beat put on the highest activation of its range, as madmom
    does.
    """
    space = BeatStateSpace(60 * fps / 215, 60 * fps / 55)
    model = HiddenMarkovModel(BeatTransitionModel(space, 100), Observations(space))
    found = []
    for clip in activations:
        path, _ = model.viterbi(clip)
        heard = model.observation_model.pointers[path].astype(int)
        edges = np.flatnonzero(np.diff(heard, prepend=0, append=0)).reshape(-1, 2)
        found.append(np.array([a + clip[a:b].argmax() for a, b in edges]) / fps)
    return found


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, its wall and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = call()
    return made, time.perf_counter() - wall, time.process_time() - cpu


@click.command()
@click.option("--clips", default=200)
@click.option("--seconds", default=30.0)
@click.option("--fps", default=50.0)
@click.option("--loop", default=20, help="Clips for the loop.")
def main(clips: int, seconds: float, fps: float, loop: int) -> None:
    """Time both and print the ratio."""
    rng = np.random.default_rng(0)
    activations = (1 / (1 + np.exp(-rng.normal(-2, 1.5, (clips, round(seconds * fps)))))).astype(
        np.float32
    )
    dbn.decode(activations[:1], fps)  # the state space is made once per rate
    ours, wall, cpu = timed(lambda: dbn.decode(activations, fps))
    theirs, loop_wall, loop_cpu = timed(lambda: looped(activations[:loop], fps))
    same = sum(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=False))
    per_clip = {
        "madmom-infer": (loop_wall / loop, loop_cpu / loop),
        "svuprobe": (wall / clips, cpu / clips),
    }
    click.echo(
        f"{clips} clips of {seconds:g} s at {fps:g} frames/s, {torch.get_num_threads()} threads"
    )
    for name, (w, c) in per_clip.items():
        click.echo(f"{name:>14}: {1000 * w:8.2f} ms wall, {1000 * c:8.2f} ms CPU a clip")
    click.echo(f"same beats in {same} of {loop} clips")
    click.echo(
        f"ratio: {loop_wall / loop / (wall / clips):.1f} wall, "
        f"{loop_cpu / loop / (cpu / clips):.1f} CPU"
    )


if __name__ == "__main__":
    main()
