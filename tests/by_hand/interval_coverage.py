"""Measure how often intervals hold the true score, and write the table of docs/statistics.md.

    python tests/by_hand/interval_coverage.py docs/coverage.csv

Test sets are simulated by the generators of tests/probe/test_stats.py: clips of a group are alike,
groups are of unequal size. The truth is the score of a test set of 20,000 groups. Each row says in
how many per cent of the sets an interval at 95 % holds it: svuprobe's; svuprobe's if it took each
clip for a unit of its own; and the percentile bootstrap over groups, which many tools print.
"""

from __future__ import annotations

import csv
import importlib
import sys
import time
from pathlib import Path

import numpy as np

from svuprobe.probe.stats.intervals import interval
from svuprobe.tasks.kinds.metrics import metric

# The generators lie with the tests that use them.
sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("support", "probe")]
simulated = importlib.import_module("test_stats")

SETS = 1000
DRAWS = 999  # of the percentile bootstrap
GROUPS = (8, 20, 50)
SCORES = {
    "accuracy": (simulated.classes_set, metric("accuracy"), True),
    "macro-F1": (simulated.classes_set, metric("macro_f1"), True),
    "F of a clip, mean": (simulated.songs_set, simulated.clip_mean, True),
    "R2": (simulated.values_set, metric("r2"), False),
    "ROC-AUC": (simulated.tags_set, metric("roc_auc"), True),
}
HEAD = ("score", "true value", "groups", "svuprobe", "clips as units", "percentile bootstrap")


def percentile(score, n_groups, rng):
    """Return the middle 95 % of the scores of resamplings of the groups."""
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=DRAWS).astype(float)
    return np.nanquantile(score(counts), (0.025, 0.975))


def row(name, n_groups):
    """Return how often each of three intervals holds the truth, in per cent."""
    made, function, share = SCORES[name]
    rng, drawn = np.random.default_rng(2), np.random.default_rng(3)
    truth = function(*made(rng, 20000), np.ones((1, 20000)))[0]
    hits = np.zeros(3)
    for _ in range(SETS):
        target, output, group = made(rng, n_groups)
        clip = np.arange(len(group))

        def by_group(counts, t=target, o=output, g=group):
            return function(t, o, g, counts)

        def by_clip(counts, t=target, o=output, c=clip):
            return function(t, o, c, counts)

        found = (
            interval(by_group, n_groups, share=share),
            interval(by_clip, len(clip), share=share),
            percentile(by_group, n_groups, drawn),
        )
        hits += [low <= truth <= high for low, high in found]
    return (name, f"{truth:.2f}", n_groups, *(f"{100 * h / SETS:.1f}" for h in hits))


def main():
    """Measure all, and write the table."""
    with Path(sys.argv[1]).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEAD)
        for name in SCORES:
            for n_groups in GROUPS:
                started = time.perf_counter()
                table.writerow(row(name, n_groups))
                file.flush()
                print(name, n_groups, f"{time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
