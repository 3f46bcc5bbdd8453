"""Fine-tuning: svuprobe's step against a plain loop over transformers' own model, in one run.

``python benchmarks/speed/finetune.py [--model random:wav2vec2-base] [--device cuda] [--batch 48]
[--seconds 3] [--steps 20]`` trains on noise in the shape of the technique task, with everything
frozen, with the transformer unfrozen (the second of two stages) and with adapters (LoRA), and
prints seconds per step, peak memory and their ratios. Both sides have the same weights, head, Adam
and number format (bfloat16 autocast on a GPU), take turns step by step, and see clips of one
length, which transformers gets right without masks. The plain loop is what the documentation of
transformers and peft shows: ``output_hidden_states``, a weighted sum, ``freeze_feature_encoder``.
"""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate
from torch import nn

from svuprobe.extractors.loading import load as load_model
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.loop import optimiser_of
from svuprobe.probe.finetune.model import build
from svuprobe.probe.finetune.network import Batch
from svuprobe.probe.finetune.protocol import preset
from svuprobe.tasks import load as load_task

MODES = {"frozen": (0, 0), "two-stage": (1, 0), "LoRA": (1, 8)}  # stage, rank of the adapters
Step = Callable[[], None]


def ours(
    model: str, mode: str, runtime: Runtime, audio: torch.Tensor, targets: torch.Tensor
) -> Step:
    """One step as `svuprobe.probe.finetune.loop.Training` takes it."""
    stage, rank = MODES[mode]
    task = load_task("technique")
    network = build(model, task, task.labels or (), preset("yamamoto2023", lora_rank=rank)).to(
        runtime.device
    )
    groups = network.groups(network.plan.stages[stage])
    network.train()
    batch = Batch(audio, torch.full((len(audio),), audio.shape[1])).to(runtime.device)
    return stepping(
        lambda: runtime.run(network, batch), targets, optimiser_of(network.plan, groups)
    )


def plain(
    model: str, mode: str, runtime: Runtime, audio: torch.Tensor, targets: torch.Tensor
) -> Step:
    """The same with transformers' forward."""
    stage, rank = MODES[mode]
    extractor: Any = load_model(model)
    encoder, normalize = extractor.model.to(runtime.device), extractor.normalization != "none"
    encoder.requires_grad_(stage == 1)
    if stage:
        encoder.freeze_feature_encoder()
    if rank:
        import peft

        names = ["q_proj", "k_proj", "v_proj", "out_proj"]
        encoder = peft.get_peft_model(
            encoder, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
        )
    encoder.train(stage == 1)
    mix = nn.Parameter(torch.zeros(len(extractor.layer_names), device=runtime.device))
    head = nn.Sequential(nn.Linear(extractor.dim, 768), nn.Dropout(0.5), nn.Linear(768, 10)).to(
        runtime.device
    )

    def forward() -> torch.Tensor:
        x = audio.to(runtime.device)
        if normalize:
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
        kind = torch.device(runtime.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=runtime.dtype == "bfloat16"):
            states = torch.stack(encoder(x, output_hidden_states=True).hidden_states)
            mixed = (mix.softmax(0)[:, None, None, None] * states).sum(0)
            return head(mixed.mean(1)).float()

    learning = [p for p in encoder.parameters() if p.requires_grad]
    groups = [{"params": [*head.parameters(), mix], "lr": 3e-4}]
    groups += [{"params": learning, "lr": 5e-5}] if learning else []
    return stepping(forward, targets, torch.optim.Adam(groups))


def stepping(
    forward: Callable[[], torch.Tensor], targets: torch.Tensor, optimiser: torch.optim.Optimizer
) -> Step:
    """Forward, loss, backward, optimiser."""

    def step() -> None:
        nn.functional.cross_entropy(forward(), targets).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def seconds(step: Step, device: str) -> float:
    """Wall seconds of one step."""
    started = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_mib(make: Callable[[], Step], device: str) -> float:
    """Most memory that two steps hold, with what was there before; of a process on Linux, or of a
    GPU.
    """
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    step = make()
    step()
    step()
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated()) / 2**20
    status = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    )
    return int(status["VmHWM"].split()[0]) / 2**10


@click.command()
@click.option("--model", default="random:wav2vec2-base")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--batch", default=48)
@click.option("--seconds", "length_s", default=3.0)
@click.option("--steps", default=20)
def main(model: str, device: str, batch: int, length_s: float, steps: int) -> None:
    """Print a line for each mode."""
    runtime = Runtime(device, "bfloat16" if device.startswith("cuda") else "float32")
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(batch, round(16000 * length_s), generator=generator)
    targets = torch.randint(10, (batch,), generator=generator).to(device)
    rows = []
    for mode in MODES:
        sides = [
            functools.partial(side, model, mode, runtime, audio, targets) for side in (ours, plain)
        ]
        memory = [peak_mib(make, device) for make in sides]
        pair = [make() for make in sides]
        for step in pair:
            seconds(step, device)
        taken = [[seconds(step, device) for step in pair] for _ in range(steps)]
        mine, theirs = (statistics.median(column) for column in zip(*taken, strict=True))
        ratio = statistics.median(b / a for a, b in taken)
        rows.append([mode, mine, theirs, ratio, *memory])
        del pair
    print(
        f"{model}, {batch} clips of {length_s:g} s, {runtime.dtype} on {device}, "
        f"{torch.get_num_threads()} threads"
    )
    head = ["", "s/step", "plain", "plain / svuprobe", "peak MiB", "plain"]
    print(tabulate(rows, head, floatfmt=("", ".4g", ".4g", ".2f", ".0f", ".0f")))


if __name__ == "__main__":
    main()
