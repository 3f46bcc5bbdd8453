"""Sum up a result in a few plain values, for programs that read what a command did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.score import mean_over_seeds


def summary_of(result: Result, path: Path) -> dict[str, Any]:
    """Return what a row of a table holds, and where all of the result is."""
    task, model, protocol = result.task, result.model, result.protocol
    ranked, best = result.ranked, result.best_layer
    return {
        "task": task.name,
        "synthetic": task.synthetic,
        "window_s": task.window_s,
        "model": model.name,
        "display": shown_name(result),
        "revision": model.revision,
        "control": model.control,
        "finetuned": protocol.finetunes,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "shuffled_labels": protocol.shuffle_labels,
        "train_fraction": protocol.train_fraction,
        "metric": task.ranked,
        "mean": ranked.mean,
        "std": ranked.std,
        "ci95": None if ranked.interval is None else list(ranked.interval),
        "chance": result.chance[task.ranked],
        "best_layer": best or None,
        "best_layer_mean": mean_over_seeds(result.layer_curve.get(best, ())),
        "caveats": list(result.caveats),
        "path": str(path),
    }
