"""Processor seconds for a leaderboard of many models: made-up results with predictions on five
tasks.

    python -m svuprobe.benchmarks.speed.leaderboard [50 100 200 400]

For each number of models: how long ``svuprobe leaderboard`` takes for them, and how many times that
of the number before. Twice the models have to take about twice as long.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import svuprobe
from svuprobe.benchmarks import leaderboard  # noqa: F401 - imported before the clock starts
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.result import Counts, ModelInfo, ProtocolInfo, Result, TaskInfo, Timings
from svuprobe.probe.results.result_folds import SplitCounts
from svuprobe.probe.results.result_layers import LayerChoice, LayerWeights, Selected
from svuprobe.probe.results.score import Score
from svuprobe.tasks.types import SPLITS

TASKS, CLASSES, CLIPS, GROUPS = 5, 10, 200, 40


def write(results: Path, n_models: int, n_tasks: int = TASKS) -> None:
    """Write results of models that are right more and more often, with predictions, on every
    task.
    """
    protocol = Protocol()
    for model in range(n_models):
        for task in range(n_tasks):
            rng = np.random.default_rng([model, task])
            target = np.arange(CLIPS) % CLASSES
            right = rng.random((protocol.seeds, CLIPS)) < 0.3 + 0.6 * model / n_models
            answer = np.where(right, target, (target + 1) % CLASSES)
            predictions = {
                "outputs": np.eye(CLASSES, dtype=np.float32)[answer],
                "clip_id": np.array([f"clip{n}" for n in range(CLIPS)]),
                "group": np.array([f"group{n % GROUPS}" for n in range(CLIPS)]),
                "target": target,
            }
            path = results / f"model{model:04d}@01234567" / f"task{task}" / "svuprobe.json"
            result_file.save(
                _result(f"model{model:04d}", f"task{task}", right.mean(axis=1)), path, predictions
            )


def _result(model: str, task: str, per_seed: np.ndarray) -> Result:
    protocol, layers = Protocol(), ("input", *(f"block{n:02d}" for n in range(1, 13)))
    weights = ((1 / len(layers),) * len(layers),) * protocol.seeds
    split = SplitCounts(clips=CLIPS, windows=CLIPS, groups=GROUPS)
    score = Score.of_seeds(per_seed.tolist(), (0.0, 1.0))
    choice = LayerChoice(layer="sum", learning_rate=1e-3, valid=score.mean)
    return Result(
        task=TaskInfo(
            name=task,
            version=1,
            kind="multiclass",
            dataset="made",
            synthetic=False,
            ranked="accuracy",
            scored="clip",
            windowing="3s",
            class_weight_alpha=0.0,
            labels=tuple(f"class{n}" for n in range(CLASSES)),
            licence="none",
            reference="Made up",
            splits=dict.fromkeys(SPLITS, CLIPS),
            split_sha256="ab" * 32,
            target_sha256="cd" * 32,
        ),
        model=ModelInfo(
            name=model,
            revision="0123456789",
            digest="d",
            parameters=1,
            dim=4,
            sample_rate=16000,
            frame_rate=50.0,
            normalization="none",
            dtype="float32",
            layer_names=layers,
            control=False,
        ),
        protocol=ProtocolInfo(name=protocol.name, hash=protocol.hash, fields=protocol.fields),
        scores=dict.fromkeys(("accuracy", "macro_f1", "top3"), score),
        chance=dict.fromkeys(("accuracy", "macro_f1", "top3"), 1 / CLASSES),
        layer_weights=LayerWeights(softmax=weights, times_rms=weights, rms=(1.0,) * len(layers)),
        layer_curve=dict.fromkeys(layers, score.per_seed),
        layer_ci95=dict.fromkeys(layers, (0.123456, 0.987654)),
        selected=Selected(
            head=choice, layers={name: replace(choice, layer=name) for name in layers}
        ),
        counts=Counts(train=split, valid=split, test=split, missing=0),
        timings=Timings(train_s=1.0, test_s=0.5),
        environment={"python": "3"},
        date="2026-01-01T00:00:00+00:00",
    )


def main(sizes: list[int]) -> None:
    """Print a line for each number of models."""
    before = None
    for n_models in sizes:
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder, "results")
            write(results, n_models)
            started = time.process_time()
            svuprobe.leaderboard(results, Path(folder, "leaderboard.md"))
            seconds = time.process_time() - started
        ratio = "" if before is None else f", {seconds / before:.2f} times as long"
        print(
            f"{n_models} models x {TASKS} tasks: {seconds:.1f} s of a processor{ratio}", flush=True
        )
        before = seconds


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [50, 100, 200, 400])
