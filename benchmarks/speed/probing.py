"""Probing: a whole grid of heads at once against the same heads one by one in plain PyTorch, in one
run.

``python benchmarks/speed/probing.py [--clips 2000] [--epochs 20] [--sample 14] [--device cpu]
[--out FILE.json]``

Made-up hidden states (13 x 768, ten classes, 60/20/20) whose layers tell the class more or less.
The grid is 14 layer choices x 6 learning rates x 5 seeds of the protocol ``svuprobe``; every head
trains for the same number of epochs, is scored on validation after each and keeps its best state.
Plain is ``torch.nn`` and ``torch.optim.Adam`` on float32 states of its layer (all layers for a
weighted sum), scaled beforehand; it is timed on a sample of the grid, one head of each layer choice
at least, and scaled up by count. It runs with torch's default threads, and again with one. Where
the hardware multiplies bfloat16 natively the grid is trained again with products rounded to it, as
``svuprobe probe`` does there by itself.

Then the linear protocol with its own early stopping, against scikit-learn's logistic regression on
each layer, C chosen on validation: both test accuracies per layer, and whether they are within one
standard error of each other.

*floor* is what no way to train these heads can do without: the large products of the training
steps, and Adam's pass over the weights, which is bound by the speed of memory; *floor, validated*
has the large product of validation as well, which early stopping asks for after each epoch. A floor
runs on as many cores at once as the grid does: threads of one core, and cores that share a cache,
slow each other down. It is timed before and after the grid, since other work on a machine comes and
goes, and the mean of both counts.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import torch
from joblib import cpu_count
from torch import nn

from svuprobe.probe import evaluate
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.heads import WEIGHTED_SUM, Spec
from svuprobe.probe.training.splits import Rows
from svuprobe.probe.training.train import fit, specs
from svuprobe.probe.training.workers import (
    Workers,
    matmul_precision_for,
    matmul_rounding,
    unthreaded,
)
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Clip, Task, Windowing

LAYERS, DIM, CLASSES = 13, 768, 10


def machine(device: str) -> dict[str, Any]:
    """What the times depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip()
        for line in cpuinfo.read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def made_up(clips: int, protocol: Protocol, device: str) -> ClipFeatures:
    """Features of a task whose classes the middle layers tell best."""
    rng = np.random.default_rng(0)
    label = rng.integers(CLASSES, size=clips)
    # Few directions hold most of the variance.
    spectrum = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    turned = spectrum[:, None] * np.linalg.qr(rng.normal(size=(DIM, DIM)))[0].astype(np.float32)
    states = rng.normal(size=(clips, LAYERS, DIM)).astype(np.float32) @ turned
    directions = rng.normal(size=(CLASSES, DIM)).astype(np.float32) @ turned
    strength = 0.15 * np.exp(-(((np.arange(LAYERS) - 7) / 4) ** 2)).astype(np.float32)
    states += strength[:, None] * directions[label][:, None]
    part = ["train", "train", "train", "valid", "test"]
    listed = [Clip(str(n), "", part[n % 5], f"{label[n]:02d}", str(n)) for n in range(clips)]
    labels = tuple(f"{n:02d}" for n in range(CLASSES))
    task = Task(
        "made-up",
        "made-up",
        "multiclass",
        ("accuracy",),
        lambda root: [],
        Windowing(),
        "",
        "",
        labels=labels,
    )
    splits = {}
    for split in ("train", "valid", "test"):
        rows = np.array([n for n in range(clips) if part[n % 5] == split])
        splits[split] = Rows(tuple(listed[n] for n in rows), rows, np.arange(len(rows)))
    header = SimpleNamespace(dim=states.shape[-1])
    cache: Any = SimpleNamespace(features=states.astype(np.float16), header=header)
    return ClipFeatures(
        cache, splits, ClipList(task, tuple(listed), labels, False), protocol, device
    )


class Plain(nn.Module):
    """One head as anyone would write it."""

    def __init__(self, layer: int, protocol: Protocol) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(LAYERS)) if layer == WEIGHTED_SUM else None
        hidden = (nn.Linear(DIM, protocol.hidden), nn.ReLU(), nn.Dropout(protocol.dropout))
        self.head = nn.Sequential(*hidden, nn.Linear(protocol.hidden, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mix is not None:
            x = (self.mix.softmax(0)[:, None] * x).sum(1)
        return self.head(x)


def train_plain(
    spec: Spec, features: ClipFeatures, protocol: Protocol, inputs: dict[str, torch.Tensor]
) -> None:
    """One head, on its own."""
    torch.manual_seed(spec.seed)
    model = Plain(spec.layer, protocol).to(features.device)
    groups: list[dict[str, Any]] = [{"params": model.head.parameters()}]
    if model.mix is not None:
        groups.append({"params": [model.mix], "lr": protocol.mix_learning_rate})
    optimiser = torch.optim.Adam(groups, lr=spec.learning_rate)
    targets = {s: b.targets for s, b in features.blocks.items()}
    best = -1.0
    for epoch in range(protocol.max_epochs):
        _, steps = next(features.epoch(epoch, spec.seed))
        model.train()
        for rows in steps:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs["train"][rows]), targets["train"][rows])
            loss.backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            score = (model(inputs["valid"]).argmax(1) == targets["valid"]).float().mean().item()
        if score > best:
            best, _state = score, {k: v.clone() for k, v in model.state_dict().items()}


def one_by_one(
    sample: list[Spec], features: ClipFeatures, protocol: Protocol
) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each head of the sample; making its input ready is not counted."""
    moments, times = features.feature_stats, []
    for spec in sample:
        layers: Any = slice(None) if spec.layer == WEIGHTED_SUM else spec.layer
        inputs = {
            s: (b.states[:, layers].float() - moments.mean[layers]) / moments.scale[layers]
            for s, b in features.blocks.items()
        }
        train_one = partial(train_plain, spec, features, protocol, inputs)
        times.append(timed(train_one)[1:])
    return times


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, its wall and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return made, time.perf_counter() - wall, time.process_time() - cpu


def speed(clips: int, epochs: int, sample: int, device: str) -> dict[str, Any]:
    """Seconds per head of the grid, ours and plain."""
    protocol = preset("svuprobe", max_epochs=epochs, patience=epochs, plateau_factor=1.0)
    features = made_up(clips, protocol, device)
    grid = specs(protocol, LAYERS)
    each = len(grid) // 14
    chosen = [
        grid[n * each + (7 * k) % each] for k in range(max(1, sample // 14)) for n in range(14)
    ]
    fit(features, replace(protocol, max_epochs=1), DIM)  # what is made once is made
    batches = len(next(features.epoch(0, 0))[1])
    rows: dict[str, Any] = {}
    for name, rounding in (
        ("svuprobe", "float32"),
        ("svuprobe, native", matmul_precision_for(protocol, device)),
    ):
        if name == "svuprobe" or rounding != "float32":
            floors = partial(both_floors, features, protocol, batches, rounding)
            before = floors() if device == "cpu" else {}
            fitted, wall, cpu = timed(
                lambda r=rounding: fit(features, protocol, DIM, matmul_precision=r)
            )  # type: ignore[misc]
            valid = float(np.mean(np.concatenate([f.score for f in fitted])))
            about = {"heads": len(grid), "products": rounding, "valid": valid}
            rows[name] = about | {"wall_s": wall / len(grid), "cpu_s": cpu / len(grid)}
            after = floors() if device == "cpu" else {}
            for kind in before:
                mean = {}
                for unit in ("wall_s", "cpu_s"):
                    mean[unit] = (before[kind][unit] + after[kind][unit]) / 2
                rows[name.replace("svuprobe", kind)] = before[kind] | mean
    threads = torch.get_num_threads()
    for name, count in (("plain", threads), ("plain, one thread", 1)):
        torch.set_num_threads(count)
        one_by_one(chosen[:1], features, replace(protocol, max_epochs=1))
        walls, cpus = zip(*one_by_one(chosen, features, protocol), strict=True)
        rows[name] = {
            "heads": len(chosen),
            "wall_s": statistics.mean(walls),
            "cpu_s": statistics.mean(cpus),
        }
    torch.set_num_threads(threads)
    return {"epochs": epochs, "batches": batches, "per_head": rows}


def both_floors(
    features: ClipFeatures, protocol: Protocol, batches: int, rounding: str
) -> dict[str, dict[str, Any]]:
    """Seconds a head of what training can't leave out, without and with validation's product."""
    rows = len(features.blocks["valid"])
    steps = protocol.max_epochs * batches
    return {
        "floor": floor(steps, protocol, rounding, 0, 0),
        "floor, validated": floor(steps, protocol, rounding, rows, protocol.max_epochs),
    }


def floor(
    steps: int, protocol: Protocol, rounding: str, valid_rows: int, validations: int
) -> dict[str, Any]:
    """Seconds a head of some steps and validations, and nothing else.

    In each step the two large products of a head's hidden layer, for a weighted sum the one that
    goes on to its weights, and Adam's pass over the layer, by torch's fused kernel; in each
    validation one product. A bank is the heads of a seed on one layer, a rate each, as in the grid.
    """
    heads, cores = len(protocol.learning_rates), cpu_count()
    adam: dict[str, Any] = {
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "weight_decay": 0.0,
        "eps": 1e-8,
    }

    def once(is_sum: bool) -> None:
        x = torch.randn(1, protocol.batch_size, DIM).expand(heads, -1, -1)
        valid = torch.randn(1, max(1, valid_rows), DIM).expand(heads, -1, -1)
        units = torch.randn(heads, protocol.batch_size, protocol.hidden)
        weights, gradients, first, second = torch.randn(4, heads, DIM, protocol.hidden).abs()
        each = [list(t) for t in (weights, gradients, first, second)]
        count = [torch.ones(())] * heads
        for _ in range(steps):
            torch.bmm(x, weights)
            gradients.baddbmm_(x.mT, units, beta=0)
            if is_sum:
                torch.bmm(units, weights.mT)
            torch._fused_adam_(*each, [], count, amsgrad=False, maximize=False, **adam)
        for _ in range(validations):
            torch.bmm(valid, weights)

    # Of the grid's layer choices one is the weighted sum.
    share = {False: LAYERS / (LAYERS + 1), True: 1 / (LAYERS + 1)}
    total = {"wall_s": 0.0, "cpu_s": 0.0}
    with matmul_rounding(rounding), unthreaded("cpu"), Workers("cpu") as workers:
        for is_sum, part in share.items():
            list(workers.map(once, [is_sum] * cores))  # what is made once is made
            _, wall, cpu = timed(lambda s=is_sum: list(workers.map(once, [s] * cores)))  # type: ignore[misc]
            total["wall_s"] += part * wall / (heads * cores)
            total["cpu_s"] += part * cpu / (heads * cores)
    return {"heads": heads * cores, "products": rounding, **total}


def against_sklearn(clips: int, device: str) -> dict[str, Any]:
    """Test accuracy of each layer's linear head and of logistic regression, with the time of
    both.
    """
    from sklearn.linear_model import LogisticRegression

    protocol = preset("linear")
    features = made_up(clips, protocol, device)

    def ours() -> list[float]:
        fitted = fit(features, protocol, DIM)
        choices = evaluate.select(features, evaluate.rate_scores(features, fitted))
        banks = [evaluate.chosen_bank(fitted, choices[layer]) for layer in range(LAYERS)]
        return [
            float(features.ranked(features.outputs(bank, "test"), "test").mean()) for bank in banks
        ]

    def theirs() -> list[float]:
        scores = []
        moments = features.feature_stats
        for layer in range(LAYERS):
            x = {
                s: ((b.states[:, layer].float() - moments.mean[layer]) / moments.scale[layer])
                .cpu()
                .numpy()
                for s, b in features.blocks.items()
            }
            y = {s: b.targets.cpu().numpy() for s, b in features.blocks.items()}
            models = [
                LogisticRegression(C=c, max_iter=1000).fit(x["train"], y["train"])
                for c in 10.0 ** np.arange(-5, 1)
            ]
            best = max(models, key=lambda m: m.score(x["valid"], y["valid"]))
            scores.append(float(best.score(x["test"], y["test"])))
        return scores

    mine, wall, cpu = timed(ours)
    other, their_wall, their_cpu = timed(theirs)
    n = len(features.splits["test"].clips)
    error = [float(np.sqrt(max(p * (1 - p), 1 / n) / n)) for p in other]
    return {
        "svuprobe": {
            "heads": len(specs(protocol, LAYERS)),
            "wall_s": wall,
            "cpu_s": cpu,
            "accuracy": mine,
        },
        "scikit-learn": {
            "fits": 6 * LAYERS,
            "wall_s": their_wall,
            "cpu_s": their_cpu,
            "accuracy": other,
        },
        "standard_error": error,
        "within": [abs(a - b) <= e for a, b, e in zip(mine, other, error, strict=True)],
    }


@click.command()
@click.option("--clips", default=2000)
@click.option("--epochs", default=20)
@click.option("--sample", default=14, help="Plain heads to time.")
@click.option("--device", default="cpu")
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file for all numbers.")
def main(clips: int, epochs: int, sample: int, device: str, out: Path | None) -> None:
    """Time both and print the ratios."""
    found: dict[str, Any] = {"machine": machine(device), "clips": clips}
    found["grid"] = speed(clips, epochs, sample, device)
    rows = found["grid"]["per_head"]
    for name, row in rows.items():
        ratio = {unit: row[unit] / rows["svuprobe"][unit] for unit in ("wall_s", "cpu_s")}
        row["ratio"] = ratio
        click.echo(
            f"{name:>18}: {row['wall_s']:7.3f} s wall {row['cpu_s']:7.3f} s CPU a head "
            f"({row['heads']} timed), {ratio['wall_s']:.2f} and {ratio['cpu_s']:.2f} times "
            "svuprobe's"
        )
    found["logistic_regression"] = against_sklearn(clips, device)
    compared = found["logistic_regression"]
    for name in ("svuprobe", "scikit-learn"):
        row = compared[name]
        shown = " ".join(f"{a:.3f}" for a in row["accuracy"])
        click.echo(
            f"{name:>18}: {row['wall_s']:8.1f} s wall {row['cpu_s']:8.1f} s CPU, accuracy by "
            f"layer {shown}"
        )
    click.echo(f"within one standard error: {sum(compared['within'])} of {LAYERS} layers")
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
