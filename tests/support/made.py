"""Results as the probe writes them, made up: for the leaderboard, the plots and the statistics."""

import json

import numpy as np

from svuprobe.probe.protocol import Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result import SCHEMA
from svuprobe.probe.results.result_json import from_json, to_json


def made(
    model="wavlm-base-plus",
    mean=0.7,
    *,
    layers=3,
    task="technique",
    protocol=None,
    ci95=(0.6, 0.8),
    caveats=(),
    **changes,
):
    """A result on a task of two classes and twelve test clips."""
    protocol = protocol or Protocol()
    names = ["input", *(f"block{n:02d}" for n in range(1, layers))]
    seeds = protocol.seeds
    task_keys = {
        "name": task, "version": 1, "kind": "multiclass", "dataset": "vocalset", "synthetic": False,
        "ranked": "accuracy", "scored": "window", "labels": ["a", "b"], "licence": "CC BY",
        "reference": "Somebody", "windowing": "3s", "class_weight_alpha": 0.0,
        "splits": {"train": 30, "valid": 10, "test": 12},
        "split_sha256": "ab" * 32, "target_sha256": "cd" * 32,
    }  # fmt: skip
    score = {
        "per_seed": [mean - 0.01, mean + 0.01],
        "mean": mean,
        "std": 0.014,
        "ci95": ci95 and list(ci95),
    }
    layer = {
        name: {"layer": name, "learning_rate": 1e-3, "valid": 0.5 + 0.1 * n}
        for n, name in enumerate(names)
    }
    weights = [[1 / layers] * layers] * seeds
    keys = {
        "task": task_keys | changes,
        "model": {
            "name": model, "revision": "0123456789", "digest": "d", "parameters": 1, "dim": 4,
            "sample_rate": 16000, "frame_rate": 50.0, "normalization": "none", "dtype": "float32",
            "layer_names": names,
            "control": model in ("logmel", "mfcc", "chroma") or model.startswith("random:"),
        },
        "protocol": {"name": protocol.name, "hash": protocol.hash, "fields": protocol.fields},
        "scores": {"accuracy": score, "macro_f1": score},
        "chance": {"accuracy": 0.1, "macro_f1": 0.05},
        "layer_weights": {"softmax": weights, "times_rms": weights, "rms": [1]},
        "layer_curve": {name: [0.9 - 0.1 * n] * seeds for n, name in enumerate(names)},
        "layer_drop": {name: [0.01 * n] * seeds for n, name in enumerate(names)},
        "layer_ci95": {name: [0.85 - 0.1 * n, 0.95 - 0.1 * n] for n, name in enumerate(names)},
        "selected": {
            "head": {"layer": "sum", "learning_rate": 1e-3, "valid": 0.7}, "layers": layer,
        },
        "counts": {
            s: {"clips": 12, "windows": 20, "groups": 12} for s in task_keys["splits"]
        } | {"missing": 0},
        "timings": {"train_s": 1.0, "test_s": 0.5},
        "environment": {"python": "3"},
        "date": "2026-01-01T00:00:00+00:00",
        "identity": {}, "files": {}, "caveats": list(caveats), "schema": SCHEMA,
    }  # fmt: skip
    return from_json(json.loads(json.dumps(keys)))


def changed(result, edit):
    """A result whose JSON was edited: a function that changes the body, or values by their dotted
    places.
    """
    body = to_json(result)
    if callable(edit):
        edit(body)
    else:
        for place, value in edit.items():
            *above, key = place.split(".")
            part = body
            for name in above:
                part = part[name]
            part[key] = value
    return from_json(body)


def saved(results, *several, clips=60, groups=12):
    """Write results with predictions that are right as often as their mean says; returns them with
    their paths.
    """
    entries = []
    for n, result in enumerate(several):
        rng = np.random.default_rng(n)
        target = np.arange(clips) % 2
        right = rng.random((result.protocol.fields["seeds"], clips)) < result.ranked.mean
        predictions = {
            "outputs": np.eye(2)[np.where(right, target, 1 - target)],
            "clip_id": np.array([f"clip{c}" for c in range(clips)]),
            "group": np.array([f"group{c % groups}" for c in range(clips)]),
            "target": target,
        }
        model, protocol = result.model, result.protocol
        task = result.task.name + ".synthetic" * result.task.synthetic
        folder = f"{model.name.replace(':', '-').replace('/', '-')}@{model.revision[:8]}"
        name = f"{protocol.name}-{protocol.hash[:8]}-{result.task.split_sha256[:4]}.json"
        path = results / folder / task / name
        result_file.save(result, path, predictions)
        entries.append((result_file.load(path), path))
        assert json.loads(path.read_text())["task"] == to_json(result.task)
    return entries
