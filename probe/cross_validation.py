"""Score a task whose clips are in folds: heads of every fold, and one score of all clips.

For each fold `svuprobe.tasks.folds` says what is tested, chosen by and learnt from. A fold is
trained like any task, with its own moments of the features, learning rates and layer, so its scores
are those that the same three splits would have as a task of their own. Each seed trains all folds,
and the spread over seeds is that of the score over all folds.

Conventions
-----------
**Pooled.** Where a metric is of single clips (accuracy, the mean of an F over songs, an absolute
error) or of counts and sums over clips (F1, R2 and the other errors and correlations, the F over
all events), it is computed once, from the answers for all clips: each was given by heads that had
not seen the clip. For accuracy this is the mean over folds, weighted by their sizes. For F1 Forman
& Scholz find it the estimate with the least bias, where the mean over folds depends on how many
folds lack a class. The R2 of a fold whose clips are much alike is large and negative, or undefined,
and says nothing of the model; predictions of values are in the targets' units, so those of
different heads stand side by side (in chemometrics: Q2, from PRESS over all folds). scikit-learn's
``cross_val_score`` and HEAR average all metrics over folds: ``folds`` of a result holds what they
would average.

**Averaged.** Where a metric asks which of two clips has the larger output (ROC-AUC, average
precision: `svuprobe.tasks.kinds.clips.ClipKind.ranks`), answers of different heads can't be put in
an order, as nothing gives their logits one scale; pooled, it is biased downwards (Forman & Scholz,
Airola et al.). It is computed within each fold, and the mean is over the folds where it is defined.

**Intervals and tests** resample groups over all folds, as those of a single split do: the answers
of all folds are one test set. What they take as given are the heads, here those of all folds. That
training sets of two folds overlap makes their scores depend on one another in a way that no
estimate from one cross-validation is unbiased for (Bengio & Grandvalet); no claim is made on heads
that other training sets would give, with folds or without. Of a metric that is averaged, leaving
one of a fold's G groups out moves the score as if there were G - 1, so its interval is wider by
sqrt(G / (G - 1)): 22 % with three groups a fold. In 2,000 simulated sets of 20 groups in 5 folds
whose heads differed, 95 % intervals covered the truth in 96.6 % (accuracy, pooled) and 97.4 %
(ROC-AUC, averaged), those of single splits in 94.7 % and 95.8 %.

References
----------
Turian et al., "HEAR: holistic evaluation of audio representations", PMLR 176, 2022; Forman &
Scholz, "Apples-to-apples in cross-validation studies", SIGKDD Explorations 12, 2010; Airola et al.,
"An experimental comparison of cross-validation techniques for estimating the area under the ROC
curve", Comput. Stat. Data Anal. 55, 2011; Bengio & Grandvalet, "No unbiased estimator of the
variance of K-fold cross-validation", JMLR 5, 2004.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from svuprobe.probe import evaluate
from svuprobe.probe.evaluate import Answers, TestScores
from svuprobe.probe.results.result_layers import LayerChoice, LayerWeights, Selected
from svuprobe.probe.results.score import mean_over_seeds
from svuprobe.probe.training.splits import ClipSplits, FrameSplits, Rows
from svuprobe.tasks.kinds.metrics import Metric, mean_over_folds
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Clip


class FoldedClips(ClipSplits):
    """Hold the test splits of all folds as one, at clip level, in the order of the folds."""

    def __init__(self, listed: ClipList, folds: Mapping[str, ClipSplits]) -> None:
        self._folds = dict(folds)
        whole = joined([fold.splits["test"] for fold in folds.values()])
        # Over all folds every clip is learnt from, too.
        super().__init__(listed, {"train": whole, "test": whole})
        self.fold_of_clip = fold_of_clips(folds)

    @property
    def folds(self) -> tuple[ClipSplits, ...]:
        """Return the splits of each fold."""
        return tuple(self._folds.values())

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Return the names of the folds."""
        return tuple(self._folds)

    def metric(self, name: str, scored: str) -> Metric:
        """Return a metric; one that ranks outputs is the mean over folds."""
        metric = super().metric(name, scored)
        if not self.kind.ranks(name):
            return metric
        by_clip = self.fold_of_clip
        return mean_over_folds(
            metric, by_clip[self.splits["test"].clip] if scored == "window" else by_clip
        )

    def guesses(self) -> np.ndarray:
        """Return what each fold's training split alone makes one guess of its test clips."""
        return np.concatenate([fold.guesses() for fold in self.folds], axis=1)


class FoldedFrames(FrameSplits):
    """Hold the test splits of all folds as one, at frame level, in the order of the folds."""

    def __init__(self, listed: ClipList, folds: Mapping[str, FrameSplits]) -> None:
        self._folds = dict(folds)
        super().__init__(listed, {"test": joined([f.splits["test"] for f in folds.values()])})
        self.fold_of_clip = fold_of_clips(folds)

    @property
    def folds(self) -> tuple[FrameSplits, ...]:
        """Return the splits of each fold."""
        return tuple(self._folds.values())

    @property
    def fold_names(self) -> tuple[str, ...]:
        """Return the names of the folds."""
        return tuple(self._folds)

    def window_times(self, row: int) -> np.ndarray:
        """Return the centres of the frames of a window, (F,) seconds of its clip."""
        return self.folds[0].window_times(row)


def folded(
    listed: ClipList, folds: Mapping[str, ClipSplits | FrameSplits]
) -> FoldedClips | FoldedFrames:
    """Return the test splits of all folds as one, by the names of the folds."""
    at_clip_level = {name: fold for name, fold in folds.items() if isinstance(fold, ClipSplits)}
    if at_clip_level:
        return FoldedClips(listed, at_clip_level)
    in_frames = {name: fold for name, fold in folds.items() if isinstance(fold, FrameSplits)}
    return FoldedFrames(listed, in_frames)


def fold_of_clips(folds: Mapping[str, ClipSplits | FrameSplits]) -> np.ndarray:
    """Return the fold of each clip of all test splits, one after the other: (clips,) names."""
    names = np.array(list(folds))
    return np.repeat(names, [len(fold.splits["test"].clips) for fold in folds.values()])


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the clips and windows of several splits as one, one split after the other."""
    clips: list[Clip] = []
    row, clip = [], []
    for part in parts:
        row.append(part.row)
        clip.append(part.clip + len(clips))
        clips += part.clips
    return Rows(tuple(clips), np.concatenate(row), np.concatenate(clip))


def joined_answers(parts: Sequence[Answers]) -> Answers:
    """Return the answers of all folds: outputs (S, N, C), or ``[clip][seed]``."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate([np.asarray(part) for part in parts], axis=1)
    whole: list[Any] = []
    for part in parts:
        whole += list(part)
    return whole


def score(
    data: FoldedClips | FoldedFrames, parts: Sequence[Answers], full: bool, deals: bool
) -> TestScores:
    """Score the answers of all folds as one, as `svuprobe.probe.evaluate.score`; predictions say
    which fold each is of.
    """
    scored = evaluate.score(data, joined_answers(parts), full, deals)
    by_clip = data.fold_of_clip
    at_clip_level = isinstance(data, ClipSplits)
    fold = by_clip[data.splits["test"].clip] if at_clip_level else by_clip
    return scored._replace(predictions=scored.predictions | {"fold": fold})


def layer_weights(folds: Sequence[LayerWeights | None]) -> LayerWeights | None:
    """Return the mean over folds of everything that is said of a sum; None where there is none."""
    if folds[0] is None:
        return None
    means: dict[str, Any] = {}
    for each in fields(LayerWeights):
        mean = np.mean([getattr(fold, each.name) for fold in folds], axis=0).tolist()
        means[each.name] = tuple(tuple(one) if isinstance(one, list) else one for one in mean)
    return LayerWeights(**means)


def selected(folds: Sequence[Selected]) -> Selected:
    """Return what most folds chose, and the mean of what it scored on their validation splits."""
    layers = {}
    for name in folds[0].layers:
        layers[name] = _most_chosen([fold.layers[name] for fold in folds])
    return Selected(head=_most_chosen([fold.head for fold in folds]), layers=layers)


def _most_chosen(choices: Sequence[LayerChoice]) -> LayerChoice:
    """Return the choice that most folds made, of equals that of the first of them."""
    made = Counter((choice.layer, choice.learning_rate, choice.setting) for choice in choices)
    ((layer, learning_rate, setting), _) = made.most_common(1)[0]
    tried = {rate for choice in choices for rate in choice.tried or ()}
    return LayerChoice(
        layer=layer,
        learning_rate=learning_rate,
        valid=mean_over_seeds([choice.valid for choice in choices]),
        setting=setting,
        tried=tuple(sorted(tried)) or None,
    )
