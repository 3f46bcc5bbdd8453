"""Beats from activations: madmom's dynamic Bayesian network, decoded for many clips at once.

References
----------
Krebs, Böck & Widmer, "An efficient state space model for joint tempo and meter tracking", ISMIR 2015 (states,
transitions); Böck, Krebs & Widmer, "A multi-model approach to beat tracking considering heterogeneous music
styles", ISMIR 2014 (observations); Böck et al., "madmom", ACM MM 2016, version 0.16.1 (the behaviour kept here).
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
from scipy.signal import argrelmin

from svuprobe.tasks.types import TaskError

# Takes the place of log(0). True log densities of a million frames add up to more (none is under -745), so a
# path that needs it loses to every path that does not.
_LOG_ZERO = -1e9


_BATCH_BYTES = 256 * 2**20  # of the table of scores, which bounds how many clips are decoded together


_BATCH_CLIPS = 128


def decode(
    activations: Sequence[ArrayLike | torch.Tensor] | NDArray[np.floating] | torch.Tensor,
    fps: float,
    *,
    min_bpm: float = 55.0,
    max_bpm: float = 215.0,
    num_tempi: int | None = None,
    transition_lambda: float = 100.0,
    observation_lambda: float = 16.0,
    threshold: float = 0.0,
    correct: bool = True,
    device: str | torch.device = "cpu",
) -> list[NDArray[np.float64]]:
    """Beats of many clips, by madmom's dynamic Bayesian network.

    Parameters
    ----------
    activations
        One probability per frame and clip: ``(B, F)``, or a sequence of B arrays ``(F_b,)`` of any lengths. A
        clip's beats do not depend on the clips it is decoded with.
    fps
        Frames per second.
    min_bpm, max_bpm
        Range of tempo; every whole number of frames per beat in it is a tempo.
    num_tempi
        At most so many tempi, spaced evenly in log frequency; all of them by default.
    transition_lambda
        How strongly a steady tempo is preferred.
    observation_lambda
        The first 1 / ``observation_lambda`` of each beat period is where a beat is heard.
    threshold
        Frames before the first and after the last that reach it are left out.
    correct
        Move each beat to the highest activation of its part of the period; else it is where the period
        begins.
    device
        Where the search runs. The result is the same everywhere: only float64 sums and comparisons.

    Returns
    -------
    B ascending arrays of beat times in s, empty for a clip without frames or with zeros only.

    Raises
    ------
    TaskError
        NaN, activations outside 0..1 (logits?), or a range of tempo with less than one frame per beat.

    Notes
    -----
    Equal to the DBNBeatTrackingProcessor of madmom 0.16.1, bit by bit: the same sums in the same order, ties
    to the same state. Deviation: where every path is impossible (activations of exactly 0 or 1 that no tempo
    explains) madmom finds no path; here the one with the fewest impossible frames is taken.
    """
    network = _network(
        float(fps),
        float(min_bpm),
        float(max_bpm),
        num_tempi,
        float(transition_lambda),
        float(observation_lambda),
    )
    clips = [_trimmed(as_activation(a, i), threshold) for i, a in enumerate(activations)]
    beats = [np.empty(0) for _ in clips]
    pending = [i for i, (clip, _) in enumerate(clips) if clip.any()]
    for batch in _batches(pending, [len(clip) for clip, _ in clips], network):
        with _one_thread():
            paths = _viterbi([clips[i][0] for i in batch], network, torch.device(device))
        for i, path in zip(batch, paths, strict=True):
            clip, first = clips[i]
            frames = _aligned(path, clip, network) if correct else _begun(path, network)
            beats[i] = (frames + first) / float(fps)
    return beats


@dataclass(frozen=True, eq=False)
class _Network:
    """The states of one tempo are a chain, one per frame of its beat period; chains join at their ends."""

    intervals: NDArray[Any]  # (n,) frames per beat, ascending
    first_states: NDArray[Any]  # (n,) index of each chain's first state among all states
    positions: NDArray[np.float64]  # (states,) place in the beat period, 0..1
    in_beat: NDArray[np.bool_]  # (states,) whether a beat is heard
    log_transition: NDArray[np.float64]  # (n, n) from the end of row's chain to the start of column's
    reach: tuple[tuple[int, int], ...]  # (n,) range of columns that row leads to
    log_initial: float
    observation_lambda: float

    @property
    def block(self) -> int:
        """Frames searched at once: no chain is shorter, so none that is entered in a block ends in it."""
        return int(self.intervals[0])

    @property
    def margin(self) -> int:
        """Frames before and after the clips: whole blocks, at least the longest chain."""
        return -(-int(self.intervals[-1]) // self.block) * self.block

    @property
    def beat_frames(self) -> NDArray[Any]:
        """How many states a beat is heard in, for each chain: its first ones."""
        return np.add.reduceat(self.in_beat.astype(int), self.first_states)


@lru_cache(maxsize=16)
def _network(
    fps: float,
    min_bpm: float,
    max_bpm: float,
    num_tempi: int | None,
    transition_lambda: float,
    observation_lambda: float,
) -> _Network:
    """States and transitions for one frame rate."""
    if not (0 < min_bpm <= max_bpm and fps > 0 and round(60 * fps / max_bpm) >= 1):
        raise TaskError(f"{min_bpm:g} to {max_bpm:g} bpm at {fps:g} frames/s: no frame per beat, or no tempo")
    if observation_lambda <= 1 or transition_lambda < 0 or (num_tempi is not None and num_tempi < 1):
        raise TaskError(
            f"observation_lambda must exceed 1 (is {observation_lambda:g}), transition_lambda must not be "
            f"negative (is {transition_lambda:g}), num_tempi must be positive or None (is {num_tempi})"
        )
    space = BeatStateSpace(60.0 * fps / max_bpm, 60.0 * fps / min_bpm, num_tempi)
    transition = exponential_transition(space.intervals, space.intervals, transition_lambda)
    columns = [np.flatnonzero(row) for row in transition]
    with np.errstate(divide="ignore"):
        log_transition = np.log(transition)
    return _Network(
        intervals=space.intervals,
        first_states=space.first_states,
        positions=space.state_positions,
        in_beat=space.state_positions < 1.0 / observation_lambda,
        log_transition=log_transition,
        reach=tuple((int(row[0]), int(row[-1]) + 1) for row in columns),
        log_initial=float(np.log(1.0 / space.num_states)),
        observation_lambda=observation_lambda,
    )


def as_activation(activation: ArrayLike | torch.Tensor, index: int) -> NDArray[np.floating]:
    """The one gate for activations: ``(F,)``, probabilities, float32 or float64 as they came."""
    if isinstance(activation, torch.Tensor):
        activation = activation.detach().cpu()
        activation = (activation if activation.dtype == torch.float64 else activation.float()).numpy()
    array = np.asarray(activation)
    if array.dtype != np.float32:  # madmom takes logarithms in the activation's own precision
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    if array.ndim != 1:
        raise TaskError(f"activation {index} has shape {array.shape}: expected one value per frame")
    if np.isnan(array).any():
        raise TaskError(
            f"activation {index} holds NaN: this network has diverged; train it with a lower learning rate"
        )
    if len(array) and not (array.min() >= 0 and array.max() <= 1):
        raise TaskError(
            f"activation {index} is in {array.min():g}..{array.max():g}: expected probabilities; "
            "apply a sigmoid to logits"
        )
    return array


def _trimmed(clip: NDArray[np.floating], threshold: float) -> tuple[NDArray[np.floating], int]:
    """The clip from the first to the last frame that reaches the threshold, and where it begins."""
    if not threshold:
        return clip, 0
    reached = np.flatnonzero(clip >= threshold)
    if not reached.any():  # none, or only frame 0: madmom then finds no beats
        return clip[:0], 0
    return clip[reached[0] : reached[-1] + 1], int(reached[0])


def _batches(pending: list[int], lengths: list[int], network: _Network) -> Iterator[list[int]]:
    """Clips of like length together, as many as memory allows."""
    pending = sorted(pending, key=lambda i: -lengths[i])
    while pending:
        frames = lengths[pending[0]] + 3 * int(network.intervals[-1])
        size = min(_BATCH_CLIPS, max(1, _BATCH_BYTES // (8 * len(network.intervals) * frames)))
        yield pending[:size]
        pending = pending[size:]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one CPU thread for a while.

    The search is tens of thousands of operations of some microseconds each. Threads gain nothing there, and
    where other processes share the cores they wait for each other (measured on two cores: 74 s for 2 s of
    work).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _log_densities(clip: NDArray[np.floating], observation_lambda: float) -> NDArray[np.float64]:
    """``(2, F)``: log density of each frame in a state without and with a beat."""
    with np.errstate(divide="ignore"):
        pair = np.log((1.0 - clip) / (observation_lambda - 1.0)), np.log(clip)
    return np.maximum(np.asarray(pair, np.float64), _LOG_ZERO)


@torch.inference_mode()
def _viterbi(clips: list[NDArray[np.floating]], network: _Network, device: torch.device) -> list[NDArray[Any]]:
    """The best path of every clip: one state per frame.

    A path is a row of whole chains, so it is enough to know, for each frame s and chain i, how good the best
    path is that enters chain i at s and stays to its end. Frames before and after a clip have log density 0:
    the paths that madmom begins or ends in the middle of a chain are then whole chains, too.
    """
    lengths = [len(clip) for clip in clips]
    frames = -(-max(lengths) // network.block) * network.block
    padded = np.zeros((2, frames + 2 * network.margin, len(clips)))
    for column, clip in enumerate(clips):
        inside = slice(network.margin, network.margin + len(clip))
        padded[:, inside, column] = _log_densities(clip, network.observation_lambda)
    densities = torch.from_numpy(padded).to(device)  # (2, T, B)
    log_transition = torch.from_numpy(network.log_transition).to(device)
    scores = _forward(densities, log_transition, network)
    ends = torch.tensor(lengths, device=device)
    starts, chains = _backward(scores, densities[1], log_transition, network, ends)
    return [_path(starts[:, b], chains[:, b], length, network) for b, length in enumerate(lengths)]


def _forward(densities: torch.Tensor, log_transition: torch.Tensor, network: _Network) -> torch.Tensor:
    """Score ``(n, T - margin, B)`` of the best path that enters chain i in frame s and finishes it."""
    n, block, margin = len(network.intervals), network.block, network.margin
    _, n_frames, n_clips = densities.shape
    scores = densities.new_empty((n, n_frames - margin, n_clips))
    best, candidate = densities.new_empty((2, n, block * n_clips))
    lags = network.intervals.tolist()
    # Chains ascend in length, so those that still run k frames in, and those that still hear the beat, come
    # last.
    running = np.searchsorted(network.intervals, np.arange(lags[-1]), side="right").tolist()
    hearing = np.searchsorted(network.beat_frames, np.arange(lags[-1]), side="right").tolist()
    for begin in range(0, n_frames - margin, block):
        entering = scores[:, begin : begin + block]  # (n, block, B)
        if begin < margin:
            entering.fill_(network.log_initial)
        else:
            best.fill_(-torch.inf)
            for i, (low, high) in enumerate(network.reach):
                ended = scores[i, begin - lags[i] : begin - lags[i] + block].view(-1)
                torch.add(ended, log_transition[i, low:high, None], out=candidate[: high - low])
                torch.maximum(best[low:high], candidate[: high - low], out=best[low:high])
            torch.add(best.view_as(entering), densities[1, begin : begin + block], out=entering)
        # Frame by frame: rounding depends on the order of a sum, and ties depend on rounding.
        for k in range(1, lags[-1]):
            now = densities[:, begin + k : begin + k + block]
            entering[running[k] : hearing[k]] += now[0]
            entering[hearing[k] :] += now[1]
    return scores


def _backward(
    scores: torch.Tensor,
    beat_density: torch.Tensor,
    log_transition: torch.Tensor,
    network: _Network,
    lengths: torch.Tensor,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where the best paths enter a chain (frame of the clip), and which: ``(steps, B)``, last first."""
    device, margin = scores.device, network.margin
    intervals = torch.from_numpy(network.intervals).to(device)[:, None]  # (n, 1)
    row = torch.arange(len(intervals), device=device)[:, None]
    clip = torch.arange(len(lengths), device=device)
    age = torch.arange(int(network.intervals[-1]), device=device)[:, None]  # frames since a chain was entered
    final = scores[:, margin + lengths - 1 - age, clip]  # (n, ages, B)
    final = final.masked_fill((intervals <= age.T)[..., None], -torch.inf)
    state = final.flatten(0, 1).argmax(0)  # chain by chain, as madmom numbers its states
    chain, start = state // len(age), lengths - 1 - state % len(age)
    starts, chains = [start], [chain]
    while bool((start > 0).any()):
        at = start.clamp(min=0) + margin
        candidate = scores[row, at - intervals, clip] + log_transition[:, chain] + beat_density[at, clip]
        before = candidate.argmax(0)  # the first of equals, as madmom
        chain = torch.where(start > 0, before, chain)
        start = torch.where(start > 0, start - intervals[before, 0], start)
        starts.append(start)
        chains.append(chain)
    return torch.stack(starts).cpu().numpy(), torch.stack(chains).cpu().numpy()


def _path(starts: NDArray[Any], chains: NDArray[Any], length: int, network: _Network) -> NDArray[Any]:
    """States of one clip, ``(length,)``, from where it enters which chain (last first)."""
    used = int(np.argmax(starts <= 0)) + 1
    starts, chains = starts[:used][::-1], chains[:used][::-1]
    duration = np.diff(np.append(starts, length))
    state = np.repeat(network.first_states[chains] - starts, duration) + np.arange(starts[0], length)
    return state[-starts[0] :] if starts[0] < 0 else state


def _aligned(path: NDArray[Any], clip: NDArray[np.floating], network: _Network) -> NDArray[Any]:
    """Frame of the highest activation in every run of frames where the path hears a beat."""
    heard = np.concatenate([[False], network.in_beat[path], [False]])
    runs = np.flatnonzero(heard[1:] != heard[:-1]).reshape(-1, 2)
    return np.array([left + clip[left:right].argmax() for left, right in runs], int)


def _begun(path: NDArray[Any], network: _Network) -> NDArray[Any]:
    """Frames where a beat period begins; the clip's ends are neighbours, as in madmom."""
    frames = argrelmin(network.positions[path], mode="wrap")[0]
    return frames[network.in_beat[path[frames]]]
