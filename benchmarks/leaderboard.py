"""``leaderboard.md`` from result files, and nothing else.

Results share a table only where task, version, split and protocol hash agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from tabulate import tabulate

from svuprobe.probe.result import Result

HEAD = """\
# Leaderboard

<!-- Written by `svuprobe leaderboard`. Do not edit: `svuprobe leaderboard --check` fails if you do. -->

How to read it: *mean ± standard deviation over seeds* of the weighted-sum head (or the only layer of a
hand-made front end), at the learning rate chosen on validation. *95 % interval*: percentile bootstrap over the
groups of the test split (singers, songs, recordings: the unit that may not cross splits), so it says how far the
score depends on who is in the test set; the ± says how far it depends on the seed. Best layer: the single layer
whose own head scores best *on validation*, with its test score. Rows marked *control* are random weights or hand-made
features: a pretrained model has learnt something useful for the task only as far as it beats them.
"""
SYNTHETIC = "**Synthetic audio**: these scores say that the chain works, nothing about any real singer.\n"
# Below about ten groups a percentile bootstrap covers less than it says.
FEW_GROUPS = 10
_PLAIN = ("r2", "mae")  # not shares of something: no per cent


def render(results: Sequence[Result]) -> str:
    """The whole file."""
    parts = [HEAD]
    if not results:
        return HEAD + "\nNo results yet: run `svuprobe probe`.\n"
    parts += [_across(list(same)) for _, same in _grouped(results, _protocol_key)]
    parts += [_table(list(same)) for _, same in _grouped(results, _table_key)]
    return "\n".join(parts)


def _protocol_key(result: Result) -> tuple[Any, ...]:
    name = result.protocol["name"]
    return name != "svuprobe", name, result.protocol["hash"]  # the default first


def _table_key(result: Result) -> tuple[Any, ...]:
    task = result.task
    return task["synthetic"], task["name"], task["version"], task["split_sha256"], *_protocol_key(result)


def _grouped(results: Iterable[Result], key: Any) -> Any:
    return groupby(sorted(results, key=key), key=key)


def task_title(result: Result) -> str:
    """Name of a task, with a mark where its data are synthetic."""
    return result.task["name"] + (" (synthetic)" if result.task["synthetic"] else "")


def model_title(result: Result) -> str:
    """Name of a model with its mark as a control; two revisions of one model stay apart."""
    model = result.model
    name = f"{model['name']}@{model['revision'][:8]}" if not model["control"] else model["name"]
    return name + (" *(control)*" if model["control"] else "")


def number(metric: str, value: float | None) -> str:
    """A score as the tables print it: per cent with one decimal, or plain with three."""
    if value is None:
        return "–"
    return f"{value:.3f}" if metric.startswith(_PLAIN) else f"{100 * value:.1f}"


def _mean_std(metric: str, score: dict[str, Any]) -> str:
    return f"{number(metric, score['mean'])} ± {number(metric, score['std'])}"


def _interval(metric: str, score: dict[str, Any]) -> str:
    if score["ci95"] is None:
        return "–"
    low, high = score["ci95"]
    return f"{number(metric, low)} to {number(metric, high)}"


def _best_layer(result: Result) -> str:
    """The single layer with the best validation score and its test score: never picked on test."""
    layers = result.selected["layers"]
    if len(layers) < 2:
        return "–"
    best = max(layers, key=lambda name: layers[name]["valid"])
    scores = result.layer_curve[best]
    return f"{best} ({number(result.task['ranked'], sum(scores) / len(scores))})"


def _table(results: list[Result]) -> str:
    """One task under one protocol."""
    first = results[0]
    ranked, names = first.task["ranked"], list(first.scores)
    results = sorted(results, key=lambda r: (-(r.ranked["mean"] or 0.0), r.model["name"]))
    rows = [
        [n, model_title(r), _mean_std(ranked, r.ranked), _interval(ranked, r.ranked), _best_layer(r)]
        + [_mean_std(m, r.scores[m]) for m in names[1:]]
        for n, r in enumerate(results, 1)
    ]
    guess = [number(m, first.chance.get(m)) for m in names[1:]]
    rows.append(["", "*chance*", number(ranked, first.chance[ranked]), "", "", *guess])
    head = ["", "model", f"**{ranked}**", "95 % interval", "best layer", *names[1:]]
    text = [
        f"## {task_title(first)}: {ranked}\n",
        *([SYNTHETIC] if first.task["synthetic"] else []),
        _described(first),
        _markdown(head, rows),
    ]
    test = first.counts["test"]
    if 1 < test["groups"] < FEW_GROUPS:
        text.append(f"Only {test['groups']} groups: the true uncertainty is larger than these intervals.\n")
    if test["groups"] == 1:
        text.append("One group only: nothing can be said about others, so there is no interval.\n")
    if undefined := first.counts.get("undefined"):
        text.append(f"Left out of the mean, as test has no positive or no negative: {', '.join(undefined)}.\n")
    if missing := {r.model["name"]: r.counts["missing"] for r in results if r.counts["missing"]}:
        text.append("Clips without features: " + ", ".join(f"{m} {n}" for m, n in missing.items()) + ".\n")
    return "\n".join(text)


def _described(result: Result) -> str:
    """What was scored on what, and how."""
    task, protocol, test = result.task, result.protocol, result.counts["test"]
    clips = {split: f"{n:,}" for split, n in task["splits"].items()}
    unit = "windows" if task["scored"] == "window" else "clips"
    groups = f"{test['groups']:,} group{'s' if test['groups'] > 1 else ''}"
    return (
        f"{task['reference']}. Clips: {clips['train']} train, {clips['valid']} validation, {clips['test']} test; "
        f"scored on {test[unit]:,} {unit} in {groups}. Protocol `{protocol['name']}` (`{protocol['hash']}`), "
        f"{protocol['fields']['seeds']} seeds; split `{task['split_sha256'][:8]}`, task version {task['version']}.\n"
    )


def _across(results: list[Result]) -> str:
    """Models x tasks under one protocol."""
    columns = sorted({(r.task["synthetic"], task_title(r), r.task["ranked"]) for r in results})
    models = sorted({model_title(r) for r in results}, key=lambda name: ("control" in name, name))
    scores: dict[tuple[str, str], list[str]] = {}
    for r in results:
        key = model_title(r), task_title(r)
        scores.setdefault(key, []).append(_mean_std(r.task["ranked"], r.ranked))
    rows = [[m] + [" / ".join(scores.get((m, title), ["–"])) for _, title, _ in columns] for m in models]
    protocol = results[0].protocol
    head = ["model"] + [f"{title}<br>{ranked}" for _, title, ranked in columns]
    return f"## Across tasks: protocol `{protocol['name']}` (`{protocol['hash']}`)\n\n{_markdown(head, rows)}"


def _markdown(head: list[str], rows: list[list[Any]]) -> str:
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True) + "\n"
