"""Pre-training on a CPU: how much audio a step goes through, and how near the machine's limit.

``python benchmarks/speed/pretraining.py [--recipe small --recipe music2vec --recipe musichubert]
[--crop-s 4] [--crops 2] [--steps 3] [--threads 1] [--out FILE.json]``

Steps as training has them (forward, backward, clipping, AdamW, the teacher's average) on noise,
with masks and targets that are drawn. Between any two steps a matrix product of 1024 x 1024 x 1024
in float32 is timed, the fastest thing that such a machine does; the share is of its rate in the
same run. Operations of a step are counted by torch (products and convolutions, a multiplication and
its addition as two); what is not counted, as norms, softmax, the optimiser and masks, takes time
alone.

Hours of audio in an hour of one core's time are seconds of audio over CPU seconds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from svuprobe.extractors.networks.kaldi import RATE
from svuprobe.pretrain.masking import mask_frames
from svuprobe.pretrain.networks import build
from svuprobe.pretrain.objectives import Objective, objective_of
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import Recipe

SIDE = 1024  # of the matrices
NAMES = ("small", "music2vec", "musichubert")


def machine(threads: int) -> dict[str, Any]:
    """Return what the times depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call in this process."""
    before = time.process_time()
    call()
    return time.process_time() - before


def product_rate(repeats: int = 5) -> float:
    """Return the floating-point operations per CPU second of a matrix product."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    out = torch.empty(SIDE, SIDE)
    seconds = [cpu_seconds(lambda: torch.mm(left, right, out=out)) for _ in range(repeats)]
    return 2 * SIDE**3 / min(seconds)


class Step:
    """A step of a recipe on noise: crops of one length, with masks and targets that are drawn."""

    def __init__(self, recipe: Recipe, crops: int) -> None:
        self.recipe = recipe
        body = build(recipe)
        self.parameters = sum(p.numel() for p in body.model.parameters())
        clusters = [int(name.partition(":")[2]) for name in recipe.targets]
        self.objective: Objective = objective_of(recipe, body, clusters).train()
        self.learning = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, lr=recipe.learning_rate, fused=True)
        rng = np.random.default_rng(0)
        samples = round(recipe.crop_s * RATE)
        frames = body.grid.n_frames(samples)
        self.audio = torch.from_numpy(0.1 * rng.normal(size=(crops, samples)).astype(np.float32))
        self.mask = torch.from_numpy(
            mask_frames(
                rng,
                crops,
                frames,
                probability=recipe.mask_probability,
                span=recipe.mask_span,
                least=recipe.least_masks,
            )
        )
        self.codes: list[Tensor] = []
        for count in clusters:
            self.codes.append(torch.from_numpy(rng.integers(0, count, (crops, frames))))
        self.done = 0

    @property
    def audio_s(self) -> float:
        """Return the seconds of audio of a step."""
        return self.audio.numel() / RATE

    def learn(self) -> None:
        """Compute the gradient of the loss."""
        loss, _ = self.objective(self.audio, self.mask, self.codes)
        loss.backward()  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        """Update the weights once."""
        self.learn()
        torch.nn.utils.clip_grad_norm_(self.learning, self.recipe.clip_norm or float("inf"))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.done += 1
        self.objective.after_step(self.done)

    def operations(self) -> int:
        """Return the floating-point operations of products and convolutions, counted by torch."""
        with FlopCounterMode(display=False) as counter:
            self.learn()
        self.optimiser.zero_grad(set_to_none=True)
        return int(counter.get_total_flops())


def measure(name: str, crop_s: float, crops: int, steps: int) -> dict[str, Any]:
    """Return the medians over the steps of a recipe; layerdrop is off, so that all are alike."""
    recipe = PRESETS[name].changed({"crop_s": crop_s, "least_s": 0.25, "layerdrop": 0.0})
    step = Step(recipe, crops)
    operations = step.operations()
    step()  # the first one allocates
    seconds, shares, rates = [], [], []
    for _ in range(steps):
        rate = product_rate()
        seconds.append(cpu_seconds(step))
        rates.append(rate)
        shares.append(operations / seconds[-1] / rate)
    middle = statistics.median(seconds)
    return {
        "recipe": name,
        "parameters": step.parameters,
        "crops": crops,
        "crop_s": crop_s,
        "gflop_per_audio_s": round(operations / step.audio_s / 1e9, 2),
        "cpu_s_per_step": round(middle, 3),
        "audio_h_per_cpu_h": round(step.audio_s / middle, 2),
        "product_gflop_per_s": round(statistics.median(rates) / 1e9, 1),
        "share_of_product": round(statistics.median(shares), 3),
    }


@click.command()
@click.option("--recipe", "names", type=click.Choice(list(PRESETS)), multiple=True, default=NAMES)
@click.option("--crop-s", type=click.FloatRange(0.5, 60), default=4.0, show_default=True)
@click.option("--crops", type=click.IntRange(1, 1000), default=2, show_default=True)
@click.option("--steps", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(__file__).parent / "results" / "pretraining-cpu.json",
)
def main(
    names: tuple[str, ...], crop_s: float, crops: int, steps: int, threads: int, out: Path
) -> None:
    """Time steps of recipes, and write a table as JSON."""
    torch.set_num_threads(threads)
    about = machine(threads)
    rows = []
    for name in names:
        row = measure(name, crop_s, crops, steps)
        rows.append(row)
        click.echo(
            f"{name}: {row['parameters'] / 1e6:.1f} M parameters, "
            f"{row['audio_h_per_cpu_h']:.1f} h of audio in an hour of a core, "
            f"{row['gflop_per_audio_s']:.1f} GFLOP a second of audio, "
            f"{100 * row['share_of_product']:.0f} % of the rate of a matrix product"
        )
        # After each, as a base model takes minutes.
        text = json.dumps({"machine": about, "steps": steps, "recipes": rows}, indent=1) + "\n"
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
