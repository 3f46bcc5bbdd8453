"""Turn a result into data frames of pandas, which is imported when one is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from svuprobe.probe.protocol import ProbeError

if TYPE_CHECKING:
    import pandas

    from svuprobe.probe.results.result import Result


def scores(result: Result) -> pandas.DataFrame:
    """Return one row for each metric and seed: what `Result.scores_frame` returns."""
    rows: list[dict[str, Any]] = []
    for metric, score in result.scores.items():
        low, high = score.ci95 or (None, None)
        chance = result.chance.get(metric)  # of recordings no chance is known
        for seed, value in enumerate(score.per_seed):
            rows.append(
                _about(result)
                | {
                    "metric": metric,
                    "seed": seed,
                    "value": value,
                    "chance": chance,
                }
                | {"ci95_low": low, "ci95_high": high}
            )
    return _pandas().DataFrame(rows)


def folds(result: Result) -> pandas.DataFrame:
    """Return one row for each fold, metric and seed: what `Result.folds_frame` returns."""
    rows: list[dict[str, Any]] = []
    for fold in result.folds or ():
        for metric, per_seed in fold.scores.items():
            for seed, value in enumerate(per_seed):
                about = _about(result) | {"fold": fold.name, "metric": metric, "seed": seed}
                rows.append(about | {"value": value, "test_clips": fold.test.clips})
    return _pandas().DataFrame(rows)


def layers(result: Result) -> pandas.DataFrame:
    """Return one row for each layer and seed: what `Result.layers_frame` returns."""
    rows: list[dict[str, Any]] = []
    seeds = len(result.ranked.per_seed)
    for place, layer in enumerate(result.model.layer_names):
        # A layer of a protocol without heads of its own has no curve; one layer has no weights.
        curve, drop = result.layer_curve.get(layer, ()), result.layer_drop.get(layer, ())
        rows_of_seeds = result.layer_weights.softmax if result.layer_weights else ((),) * seeds
        for seed, weights in enumerate(rows_of_seeds):
            rows.append(
                _about(result)
                | {"layer": layer, "place": place, "seed": seed}
                | {"weight": weights[place] if place < len(weights) else None}
                | {"value": curve[seed] if seed < len(curve) else None}
                | {"drop": drop[seed] if seed < len(drop) else None}
            )
    return _pandas().DataFrame(rows)


def _about(result: Result) -> dict[str, Any]:
    """Return the columns that tell results apart once their frames are joined."""
    return {
        "task": result.task.name,
        "synthetic": result.task.synthetic,
        "model": result.model.name,
        "revision": result.model.revision,
        "control": result.model.control,
        "protocol": result.protocol.name,
        "train_fraction": result.protocol.train_fraction,
    }


def _pandas() -> Any:
    """Return pandas. Raises ProbeError where it isn't installed."""
    try:
        import pandas
    except ImportError:
        raise ProbeError(
            "data frames need the package pandas: pip install 'svuprobe[frames]'"
        ) from None
    return pandas
