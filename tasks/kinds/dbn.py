"""Find beats in activations: madmom's dynamic Bayesian network, decoded for many clips at once.

References
----------
Krebs, Böck & Widmer, "An efficient state space model for joint tempo and meter tracking", ISMIR
2015 (states, transitions); Böck, Krebs & Widmer, "A multi-model approach to beat tracking
considering heterogeneous music styles", ISMIR 2014 (observations); Böck et al., "madmom", ACM MM
2016, version 0.16.1 (the behaviour kept here).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from madmom_infer.features.beats_hmm import BeatStateSpace, exponential_transition
from numpy.typing import ArrayLike, NDArray

from svuprobe.tasks.types import TaskError

# Takes the place of log(0). True log densities of a million frames add up to more (none is under
# -745), so a path that needs it loses to every path that does not.
_LOG_ZERO = -1e9


# madmom's defaults: the tempi that are searched, in beats per minute;
# how strongly a steady tempo is preferred; and the part of a beat
# period, its first 1 / OBSERVATION_LAMBDA, in which a beat is heard.
MIN_BPM, MAX_BPM = 55.0, 215.0
TRANSITION_LAMBDA = 100.0
OBSERVATION_LAMBDA = 16.0

# Both bound how many clips are decoded together: bytes of the table of scores, and clips.
_BATCH_BYTES = 256 * 2**20
_BATCH_CLIPS = 128


def decode(
    activations: Sequence[ArrayLike | torch.Tensor] | NDArray[np.floating] | torch.Tensor,
    fps: float,
) -> list[NDArray[np.float64]]:
    """Find the beats of many clips by madmom's dynamic Bayesian network.

    Parameters
    ----------
    activations
        One probability per frame and clip: ``(B, F)``, or a sequence of B arrays ``(F_b,)`` of any
        lengths. A clip's beats do not depend on the clips it is decoded with.
    fps
        Frames per second.

    Returns
    -------
    B ascending arrays of beat times in s, empty for a clip without frames or with zeros only. A
    beat is at the highest activation of the part of the period where it is heard.

    Raises
    ------
    TaskError
        NaN, activations outside 0..1 (logits?), or so few frames per second that the fastest beat
        has none.

    Notes
    -----
    Equal to the DBNBeatTrackingProcessor of madmom 0.16.1 with its defaults, bit by bit: the same
    sums in the same order, ties to the same state. Deviation: where every path is impossible
    (activations of exactly 0 or 1 that no tempo explains) madmom finds no path; here the one with
    the fewest impossible frames is taken.
    """
    network = _network(float(fps))
    clips = [as_activation(activation, index) for index, activation in enumerate(activations)]
    beats = [np.empty(0) for _ in clips]
    # A clip of zeros holds no beat on any path, and madmom answers none.
    pending = [index for index, clip in enumerate(clips) if clip.any()]
    for batch in _batches(pending, [len(clip) for clip in clips], network):
        with _one_thread():
            paths = _viterbi([clips[index] for index in batch], network)
        for index, path in zip(batch, paths, strict=True):
            beats[index] = _aligned(path, clips[index], network) / float(fps)
    return beats


@dataclass(frozen=True, eq=False)
class _Network:
    """Hold states and transitions: those of one tempo are a chain, one per frame of its beat
    period.

    Chains join at their ends.
    """

    intervals: NDArray[Any]  # (n,) frames per beat, ascending
    first_states: NDArray[Any]  # (n,) index of each chain's first state among all states
    in_beat: NDArray[np.bool_]  # (states,) whether a beat is heard
    # (n, n) from the end of row's chain to the start of column's
    log_transition: NDArray[np.float64]
    reach: tuple[tuple[int, int], ...]  # (n,) range of columns that row leads to
    log_initial: float

    @property
    def block(self) -> int:
        """Return the frames searched at once.

        No chain is shorter, so none that is entered in a block ends in it.
        """
        return int(self.intervals[0])

    @property
    def margin(self) -> int:
        """Return the frames before and after the clips: whole blocks, at least the longest
        chain.
        """
        return -(-int(self.intervals[-1]) // self.block) * self.block

    @property
    def beat_frames(self) -> NDArray[Any]:
        """Return how many states a beat is heard in, for each chain: its first ones, (n,)."""
        return np.add.reduceat(self.in_beat.astype(int), self.first_states)


@lru_cache(maxsize=16)
def _network(fps: float) -> _Network:
    """Make states and transitions for one frame rate; every whole number of frames a beat is a
    tempo.
    """
    if not (fps > 0 and round(60 * fps / MAX_BPM) >= 1):
        raise TaskError(f"{fps:g} frames/s: no frame per beat at {MAX_BPM:g} bpm")
    space = BeatStateSpace(60.0 * fps / MAX_BPM, 60.0 * fps / MIN_BPM, None)
    transition = exponential_transition(space.intervals, space.intervals, TRANSITION_LAMBDA)
    columns = [np.flatnonzero(row) for row in transition]
    # Transitions that can't be have a logarithm of minus infinity, and lose.
    with np.errstate(divide="ignore"):
        log_transition = np.log(transition)
    return _Network(
        intervals=space.intervals,
        first_states=space.first_states,
        in_beat=space.state_positions < 1.0 / OBSERVATION_LAMBDA,
        log_transition=log_transition,
        # Tempi change little from beat to beat: of each row only a stretch of columns is reachable.
        reach=tuple((int(row[0]), int(row[-1]) + 1) for row in columns),
        log_initial=float(np.log(1.0 / space.num_states)),
    )


def as_activation(activation: ArrayLike | torch.Tensor, index: int) -> NDArray[np.floating]:
    """Check an activation, at the one gate: ``(F,)``, probabilities, float32 or float64 as they
    came.
    """
    if isinstance(activation, torch.Tensor):
        activation = activation.detach().cpu()
        activation = (
            activation if activation.dtype == torch.float64 else activation.float()
        ).numpy()
    array = np.asarray(activation)
    if array.dtype != np.float32:  # madmom takes logarithms in the activation's own precision
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    if array.ndim != 1:
        raise TaskError(f"activation {index} has shape {array.shape}: expected one value per frame")
    if np.isnan(array).any():
        raise TaskError(
            f"activation {index} holds NaN: this network has diverged; train it with a lower "
            "learning rate"
        )
    if len(array) and not (array.min() >= 0 and array.max() <= 1):
        raise TaskError(
            f"activation {index} is in {array.min():g}..{array.max():g}: expected probabilities; "
            "apply a sigmoid to logits"
        )
    return array


def _batches(pending: list[int], lengths: list[int], network: _Network) -> Iterator[list[int]]:
    """Yield clips of like length together, as many as memory allows."""
    pending = sorted(pending, key=lambda i: -lengths[i])
    while pending:
        # The margins before and after count too; scores are float64, one for each chain and frame.
        frames = lengths[pending[0]] + 3 * int(network.intervals[-1])
        size = min(_BATCH_CLIPS, max(1, _BATCH_BYTES // (8 * len(network.intervals) * frames)))
        yield pending[:size]
        pending = pending[size:]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch on one CPU thread for a while.

    The search is tens of thousands of operations of some microseconds each. Threads gain nothing
    there, and where other processes share the cores they wait for each other (measured on two
    cores: 74 s for 2 s of work).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _log_densities(clip: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute ``(2, F)``: the log density of each frame in a state without and with a beat."""
    # Böck et al. 2014: without a beat, the rest of the probability is spread over the period.
    with np.errstate(divide="ignore"):
        pair = np.log((1.0 - clip) / (OBSERVATION_LAMBDA - 1.0)), np.log(clip)
    return np.maximum(np.asarray(pair, np.float64), _LOG_ZERO)


@torch.inference_mode()
def _viterbi(clips: list[NDArray[np.floating]], network: _Network) -> list[NDArray[Any]]:
    """Find the best path of every clip: one state per frame.

    A path is a row of whole chains, so it is enough to know, for each frame s and chain i, how good
    the best path is that enters chain i at s and stays to its end. Frames before and after a clip
    have log density 0: the paths that madmom begins or ends in the middle of a chain are then whole
    chains, too.
    """
    lengths = [len(clip) for clip in clips]
    # Rounded up to whole blocks, which are searched at once.
    frames = -(-max(lengths) // network.block) * network.block
    # Zeros where a clip is not: nothing is said there for or against a beat.
    padded = np.zeros((2, frames + 2 * network.margin, len(clips)))
    for column, clip in enumerate(clips):
        inside = slice(network.margin, network.margin + len(clip))
        padded[:, inside, column] = _log_densities(clip)
    densities = torch.from_numpy(padded)  # (2, T, B)
    log_transition = torch.from_numpy(network.log_transition)
    scores = _forward(densities, log_transition, network)
    ends = torch.tensor(lengths)
    starts, chains = _backward(scores, densities[1], log_transition, network, ends)
    return [_path(starts[:, b], chains[:, b], length, network) for b, length in enumerate(lengths)]


def _forward(
    densities: torch.Tensor, log_transition: torch.Tensor, network: _Network
) -> torch.Tensor:
    """Score the best path that enters chain i in frame s and finishes it,
    ``(n, T - margin, B)``.
    """
    n, block, margin = len(network.intervals), network.block, network.margin
    _, n_frames, n_clips = densities.shape
    scores = densities.new_empty((n, n_frames - margin, n_clips))
    best = densities.new_empty((n, block * n_clips))
    joins = _joins(best, log_transition, network)
    by_chain = scores.view(n, -1).unbind()
    lags = network.intervals.tolist()
    # Chains ascend in length, so those that still run k frames
    # in, and those that still hear the beat, come last.
    running = np.searchsorted(network.intervals, np.arange(lags[-1]), side="right").tolist()
    hearing = np.searchsorted(network.beat_frames, np.arange(lags[-1]), side="right").tolist()
    for begin in range(0, n_frames - margin, block):
        entering = scores[:, begin : begin + block]  # (n, block, B)
        # Before the clip any chain may be entered anew, at the probability of a first state.
        if begin < margin:
            entering.fill_(network.log_initial)
        else:
            best.fill_(-torch.inf)
            for ended, lag, (step, candidate, reached) in zip(by_chain, lags, joins, strict=True):
                at = (begin - lag) * n_clips
                torch.add(ended[at : at + block * n_clips], step, out=candidate)
                torch.maximum(reached, candidate, out=reached)
            torch.add(best.view_as(entering), densities[1, begin : begin + block], out=entering)
        # Frames that lie wholly before all clips, or behind them, would add zeros.
        first, behind = max(1, margin - block + 1 - begin), n_frames - margin - begin
        # Frame by frame: rounding depends on the order of a sum, and ties depend on rounding.
        for k in range(first, min(lags[-1], behind)):
            now = slice(begin + k, begin + k + block)
            if running[k] < hearing[k]:
                entering[running[k] : hearing[k]].add_(densities[0, now])
            if hearing[k] < n:
                entering[hearing[k] :].add_(densities[1, now])
    return scores


def _joins(
    best: torch.Tensor, log_transition: torch.Tensor, network: _Network
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Return for each chain that ends: its steps to those that it leads to, room for their scores,
    and their rows of ``best``, ``(n, block * B)``.
    """
    # Made once: to look at a part of an array takes as long as to add to a short one.
    room = torch.empty_like(best)
    return [
        (log_transition[i, low:high, None], room[: high - low], best[low:high])
        for i, (low, high) in enumerate(network.reach)
    ]


def _backward(
    scores: torch.Tensor,
    beat_density: torch.Tensor,
    log_transition: torch.Tensor,
    network: _Network,
    lengths: torch.Tensor,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Find where the best paths enter a chain (frame of the clip), and which: ``(steps, B)``, last
    first.
    """
    margin = network.margin
    intervals = torch.from_numpy(network.intervals)[:, None]  # (n, 1)
    row = torch.arange(len(intervals))[:, None]
    clip = torch.arange(len(lengths))
    age = torch.arange(int(network.intervals[-1]))[:, None]  # frames since a chain was entered
    final = scores[:, margin + lengths - 1 - age, clip]  # (n, ages, B)
    # A chain that was entered longer ago than it lasts has ended already.
    final = final.masked_fill((intervals <= age.T)[..., None], -torch.inf)
    state = final.flatten(0, 1).argmax(0)  # chain by chain, as madmom numbers its states
    chain, start = state // len(age), lengths - 1 - state % len(age)
    starts, chains = [start], [chain]
    while bool((start > 0).any()):
        # Clips whose path is complete go on standing where they are, until all are.
        at = start.clamp(min=0) + margin
        candidate = (
            scores[row, at - intervals, clip] + log_transition[:, chain] + beat_density[at, clip]
        )
        before = candidate.argmax(0)  # the first of equals, as madmom
        chain = torch.where(start > 0, before, chain)
        start = torch.where(start > 0, start - intervals[before, 0], start)
        starts.append(start)
        chains.append(chain)
    return torch.stack(starts).numpy(), torch.stack(chains).numpy()


def _path(
    starts: NDArray[Any], chains: NDArray[Any], length: int, network: _Network
) -> NDArray[Any]:
    """Return the states of one clip, ``(length,)``, from where it enters which chain (last
    first).
    """
    # The first entry at or before the clip's start is the path's beginning; later ones are repeats.
    used = int(np.argmax(starts <= 0)) + 1
    starts, chains = starts[:used][::-1], chains[:used][::-1]
    duration = np.diff(np.append(starts, length))
    state = np.repeat(network.first_states[chains] - starts, duration) + np.arange(
        starts[0], length
    )
    return state[-starts[0] :] if starts[0] < 0 else state


def _aligned(path: NDArray[Any], clip: NDArray[np.floating], network: _Network) -> NDArray[Any]:
    """Return the frame of the highest activation in every run where the path hears a beat."""
    heard = np.concatenate([[False], network.in_beat[path], [False]])
    # Pairs of edges: where the path begins to hear a beat, and where it stops.
    runs = np.flatnonzero(heard[1:] != heard[:-1]).reshape(-1, 2)
    return np.array([left + clip[left:right].argmax() for left, right in runs], int)
