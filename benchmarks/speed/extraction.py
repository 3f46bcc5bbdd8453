"""Extraction speed: svuprobe against the usual ways to run a frozen model, and against what the
hardware could do.

``python benchmarks/speed/extraction.py [--model random:wav2vec2-base] [--device cpu|cuda] [--dtype
float32 ...]`` makes clips of 1 to 10 s with random sound, and for each type compares, in one run
and in turns,

- *plain*: transformers one clip after the other, ``output_hidden_states``, mean over time (as
  MARBLE does);
- *padded*: transformers on batches of 8 in order of arrival, with the attention mask, mean over
  each clip's frames (as X-ARES does); ``difference_from_plain`` is what that does to the features;
- *svuprobe*: clips sorted by length, a budget of seconds per batch, `TransformerExtractor.moments`,
  which gives the deviation beside the mean;
- *pipeline*: `svuprobe.extractors.extract.extract` from audio files to a cache on the disk,
  decoding in this process;
- *ceiling*: floating-point operations counted from the architecture over the rate of a 4096 x 4096
  matrix product, for clips of one length (10 s).

``times_plain`` compares with *plain* in the same type, ``times_first_plain`` with *plain* in the
first type, float32 unless ``--dtype`` says otherwise. In each of ``--repeats`` rounds all run once
(*padded* in one only); ratios are the median over the rounds, times those of the fastest. On a CPU
the unit of ratios is CPU seconds of this process, which other processes on the machine disturb less
than wall time. Results go to ``extraction-<device>.json`` with a description of the machine.

oneDNN compiles bfloat16 products for each shape and forgets old ones: *svuprobe*, after *plain*,
finds none of its shapes, as at a start, and *pipeline*, after *svuprobe*, most of them, as in the
course of a large dataset.

On a GPU (``--device cuda``) only what bounds it: clips of one length from memory against the
ceiling, in wall time, and then FLAC files of 44.1 kHz: how fast the decoders are alone, the model
alone, and the pipeline.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
import torch
import transformers
from torch import Tensor

from svuprobe._run_options import RunOptions
from svuprobe.extractors.audio import Decoders, InputSpec
from svuprobe.extractors.batching import DTYPES, batch_seconds_for, native_dtype, pack
from svuprobe.extractors.extract import extract
from svuprobe.extractors.jobs import Corpus
from svuprobe.extractors.loading import load
from svuprobe.extractors.models.feature_encoder import zero_mean_unit_variance
from svuprobe.extractors.models.transformer import TransformerExtractor
from svuprobe.tasks.types import Clip, Windowing

Timing = tuple[float, float]  # CPU seconds of this process, wall seconds


# -- timing ----------------------------------------------------------------------------------------


def timed(call: Callable[[], Any], device: str) -> tuple[Timing, Any]:
    """What a call takes, and returns."""
    synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    made = call()
    synchronize(device)
    return (time.process_time() - cpu, time.perf_counter() - wall), made


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def in_turns(
    calls: dict[str, Callable[[], Any]], repeats: int, device: str
) -> tuple[dict[str, list[Timing]], dict[str, Any]]:
    """Times of some rounds in which each is called once, and what each returned last."""
    times: dict[str, list[Timing]] = {name: [] for name in calls}
    made = {}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds, made[name] = timed(call, device)
            times[name].append(seconds)
    return times, made


def ratio(times: Sequence[Timing], other: Sequence[Timing], unit: int) -> float:
    """Median over the rounds of one's time over the other's in the same round."""
    return statistics.median(a[unit] / b[unit] for a, b in zip(times, other, strict=False))


# -- the contenders --------------------------------------------------------------------------------


def plain(extractor: TransformerExtractor, clips: Sequence[Tensor]) -> Tensor:
    """One by one, (clips, layers, dim)."""
    weights = next(extractor.model.parameters())
    made = []
    for clip in clips:
        audio = prepared(extractor, clip)[None].to(weights)
        hidden = extractor.model(audio, output_hidden_states=True).hidden_states
        made.append(torch.stack([state.mean(dim=1, dtype=torch.float32)[0] for state in hidden]))
    return torch.stack(made).cpu()


def padded(extractor: TransformerExtractor, clips: Sequence[Tensor], size: int = 8) -> Tensor:
    """Batches in order of arrival with an attention mask."""
    weights = next(extractor.model.parameters())
    made = []
    for start in range(0, len(clips), size):
        audio = torch.nn.utils.rnn.pad_sequence(
            [prepared(extractor, clip) for clip in clips[start : start + size]], batch_first=True
        )
        lengths = torch.tensor([len(clip) for clip in clips[start : start + size]])
        mask = (torch.arange(audio.shape[1]) < lengths[:, None]).long().to(weights.device)
        hidden = extractor.model(
            audio.to(weights), attention_mask=mask, output_hidden_states=True
        ).hidden_states
        frames = 1 + (lengths - extractor.receptive_field) // extractor.hop
        own = (torch.arange(hidden[0].shape[1]) < frames[:, None])[..., None].to(weights)
        sums = [(state * own).sum(dim=1, dtype=torch.float32) for state in hidden]
        made.append(torch.stack(sums, dim=1).cpu() / frames[:, None, None])
    return torch.cat(made)


def prepared(extractor: TransformerExtractor, clip: Tensor) -> Tensor:
    """A clip as the checkpoint wants it."""
    return clip if extractor.normalization == "none" else zero_mean_unit_variance(clip)


def sorted_batches(
    extractor: TransformerExtractor, clips: Sequence[Tensor], seconds: float, device: str
) -> Tensor:
    """svuprobe's way from memory, in the order of the clips."""
    batches = list(pack([len(clip) for clip in clips], seconds * extractor.sample_rate))
    made = []
    for batch in batches:
        lengths = torch.tensor([len(clips[index]) for index in batch])
        audio = torch.zeros(len(batch), int(lengths.max()), pin_memory=device != "cpu")
        for row, index in zip(audio, batch, strict=True):
            row[: len(clips[index])] = clips[index]
        made.append(extractor.moments(audio.to(device, non_blocking=True), lengths)[:, 0])
    order = torch.tensor([index for batch in batches for index in batch])
    return torch.cat(made).cpu()[order.argsort()]


def pipeline(
    extractor: TransformerExtractor,
    folder: Path,
    rows: Sequence[Clip],
    device: str,
    dtype: str,
    jobs: int,
) -> int:
    """svuprobe's way from files to a cache; returns the clips done."""
    with tempfile.TemporaryDirectory(dir=folder) as features:
        (report,) = extract(
            [extractor],
            Corpus("speed", Windowing(), "clip", rows),
            Path(features),
            RunOptions(device=device, dtype=dtype, jobs=jobs),
        )
    assert not report.failures
    return report.done


# -- the ceiling -----------------------------------------------------------------------------------


def operations(extractor: TransformerExtractor, samples: int) -> float:
    """Floating-point operations of the matrix products and convolutions for one clip, a
    multiplication as one.
    """
    config: Any = extractor.model.config
    total, channels, frames = 0.0, 1, samples
    for out, kernel, stride in zip(
        config.conv_dim, config.conv_kernel, config.conv_stride, strict=True
    ):
        frames = 1 + (frames - kernel) // stride
        total += frames * kernel * channels * out
        channels = out
    dim = config.hidden_size
    total += frames * channels * dim
    encoder: Any = extractor.model.encoder
    for module in encoder.pos_conv_embed.modules():
        if isinstance(module, torch.nn.Conv1d):
            total += frames * dim * module.weight[0].numel()
    # Projections, MLP, attention.
    block = 4 * dim * dim + 2 * dim * config.intermediate_size + 2 * frames * dim
    return 2 * (total + config.num_hidden_layers * frames * block)


def product(device: str, dtype: torch.dtype, size: int = 4096) -> Callable[[], Tensor]:
    """A matrix product of 2 * size^3 operations."""
    one, other = (torch.randn(size, size).to(device, dtype) for _ in range(2))
    return lambda: one @ other


# -- the runs --------------------------------------------------------------------------------------


def on_equal_lengths(
    extractor: TransformerExtractor,
    seconds: float,
    device: str,
    dtype: torch.dtype,
    repeats: int,
    clips: int,
) -> dict[str, float]:
    """Share of the ceiling on clips of 10 s: median of some rounds of both, which last about as
    long.
    """
    samples = 10 * extractor.sample_rate
    sound = list(0.1 * torch.randn(clips, samples))
    unit = 0 if device == "cpu" else 1

    def model() -> Tensor:
        return sorted_batches(extractor, sound, seconds, device)

    once = product(device, dtype)
    taken = []
    for call in (once, model):
        call()
        taken.append(timed(call, device)[0][unit])
    products = max(1, round(taken[1] / taken[0]))

    def ceiling() -> None:
        for _ in range(products):
            once()

    times, _ = in_turns({"ceiling": ceiling, "model": model}, max(5, repeats), device)
    done, wanted = clips * operations(extractor, samples), products * 2 * 4096**3
    return {
        "gflop_per_second_of_audio": operations(extractor, samples) / 10 / 1e9,
        "product_gflops": wanted / min(t[unit] for t in times["ceiling"]) / 1e9,
        "model_gflops": done / min(t[unit] for t in times["model"]) / 1e9,
        "share_of_ceiling": ratio(times["ceiling"], times["model"], unit) * done / wanted,
        "audio_seconds_per_wall_second": 10 * clips / min(t[1] for t in times["model"]),
    }


def on_mixed_lengths(
    extractor: TransformerExtractor,
    sound: list[Tensor],
    folder: Path,
    budgets: Sequence[float],
    dtype: str,
    repeats: int,
    baseline: tuple[list[Timing], Tensor] | None,
) -> tuple[dict[str, dict[str, float]], tuple[list[Timing], Tensor]]:
    """The contenders on a CPU, from memory, and the pipeline, from WAV files.

    ``baseline`` is times and features of *plain* in float32, as an earlier call returned them.
    """
    rows = write(sound, folder, extractor.sample_rate, "wav")
    calls: dict[str, Callable[[], Any]] = {
        "plain": lambda: plain(extractor, sound),
        "padded": lambda: padded(extractor, sound),
        **{
            f"svuprobe {budget:g} s": partial(sorted_batches, extractor, sound, budget, "cpu")
            for budget in budgets
        },
        "pipeline": lambda: pipeline(extractor, folder, rows, "cpu", dtype, jobs=0),
    }
    slow = {"padded": calls.pop("padded")}
    times, made = in_turns(calls, repeats, "cpu")
    for part, more in zip((times, made), in_turns(slow, 1, "cpu"), strict=True):
        part.update(more)  # type: ignore[arg-type]
    baseline = baseline or (times["plain"], made["plain"])
    results = {}
    for name, rounds in times.items():
        results[name] = {"cpu_s": min(t[0] for t in rounds), "wall_s": min(t[1] for t in rounds)}
        results[name]["times_plain"] = ratio(times["plain"], rounds, 0)
        results[name]["times_first_plain"] = ratio(baseline[0], rounds, 0)
        if name != "pipeline":
            results[name]["difference_from_plain"] = difference(made[name], made["plain"])
            results[name]["difference_from_first_plain"] = difference(made[name], baseline[1])
    return results, baseline


def difference(features: Tensor, reference: Tensor) -> float:
    """Largest relative difference over clips and layers."""
    return float(((features - reference).norm(dim=2) / reference.norm(dim=2)).max())


def from_flac(
    extractor: TransformerExtractor, folder: Path, dtype: str, jobs: int, count: int
) -> dict[str, float]:
    """Seconds of audio per second of the stages alone and together, from ten-second FLAC files at
    44.1 kHz.
    """
    rng = np.random.default_rng(0)
    sound = [
        torch.from_numpy(0.1 * rng.standard_normal(441_000, dtype=np.float32)) for _ in range(count)
    ]
    rows = write(sound, folder, 44_100, "flac")
    seconds = 10.0 * count
    specs = (InputSpec(extractor.sample_rate),)
    with Decoders(jobs) as decoders:
        # Starts the processes.
        list(decoders.windows([(row, specs) for row in rows[:jobs]], Windowing()))
        decode, _ = timed(
            lambda: sum(1 for _ in decoders.windows(((r, specs) for r in rows), Windowing())),
            "cuda",
        )
    resampled = [torch.randn(10 * extractor.sample_rate) for _ in range(count)]
    model, _ = timed(
        lambda: sorted_batches(extractor, resampled, batch_seconds_for("cuda"), "cuda"), "cuda"
    )
    whole, _ = timed(lambda: pipeline(extractor, folder, rows, "cuda", dtype, jobs), "cuda")
    speeds = {
        name: seconds / each[1]
        for name, each in (("decode", decode), ("model", model), ("pipeline", whole))
    }
    bound = min(speeds["decode"], speeds["model"])
    return {**speeds, "share_of_bounding_stage": speeds["pipeline"] / bound}


def mixed_sound(count: int, sample_rate: int) -> list[Tensor]:
    """Clips of 1 to 10 s, evenly spread, in random order: a chord that fades, in noise."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        length = round(sample_rate * (1 + 9 * index / max(1, count - 1)))
        at = torch.arange(length) / sample_rate
        hz = 110 * 2 ** (torch.randint(0, 36, (3, 1), generator=generator) / 12)
        tones = torch.sin(2 * torch.pi * hz * torch.arange(1, 9)[:, None, None] * at).mean(
            dim=(0, 1)
        )
        made.append(
            0.5 * tones * torch.exp(-at / 3) + 0.01 * torch.randn(length, generator=generator)
        )
    random.Random(0).shuffle(made)
    return made


def write(sound: Sequence[Tensor], folder: Path, sample_rate: int, kind: str) -> list[Clip]:
    """Files with that sound."""
    rows = []
    for index, clip in enumerate(sound):
        path = folder / f"{index:05d}.{kind}"
        soundfile.write(path, clip.numpy(), sample_rate)
        rows.append(Clip(f"{index:05d}", str(path), "train", "none", f"{index}"))
    return rows


def machine(device: str) -> dict[str, Any]:
    """What a reader needs to know of the hardware and the libraries."""
    described = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    )
    named = re.search(r"model name\s*: (.*)", described)
    flags = re.findall(r"\b(avx2|avx512f|avx512_bf16|amx_bf16|asimd|bf16)\b", described)
    facts = {
        "cpu": named[1] if named else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_flags": sorted(set(flags)),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    return (
        facts
        if device == "cpu"
        else {**facts, "gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    )


def told(results: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """Lines for the screen."""
    for name, value in results.items():
        if isinstance(value, dict):
            numbers = ", ".join(f"{key} {number:.4g}" for key, number in value.items())
            yield f"{indent}{name}: {numbers}"
        else:
            yield f"{indent}{name}: {value:.4g}"


@click.command()
@click.option("--model", default="random:wav2vec2-base", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(list(DTYPES)),
    multiple=True,
    help="Default: all fast ones.",
)
@click.option("--clips", default=48, show_default=True)
@click.option(
    "--batch-seconds",
    "budgets",
    type=float,
    multiple=True,
    help="Default: what the pipeline takes.",
)
@click.option("--threads", default=0, help="Of torch; 0 for one per core.")
@click.option("--jobs", default=0, help="Decoding processes for FLAC; 0 for one per core.")
@click.option("--compile", "compiled", is_flag=True, help="Compile the model (cuda).")
@click.option("--repeats", default=5, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(__file__).parent / "results",
    show_default=True,
)
@torch.inference_mode()
def main(
    model: str,
    device: str,
    dtypes: tuple[str, ...],
    clips: int,
    budgets: tuple[float, ...],
    threads: int,
    jobs: int,
    compiled: bool,
    repeats: int,
    out: Path,
) -> None:
    """Measure, print, and write a JSON."""
    cores = os.cpu_count() or 1
    torch.set_num_threads(threads or cores)
    results: dict[str, Any] = {
        "model": model,
        "device": device,
        "clips": clips,
        "machine": machine(device),
    }
    fast = native_dtype(device)
    budgets = budgets or (batch_seconds_for(device),)
    baseline = None
    for dtype in dtypes or dict.fromkeys([fast] if device == "cuda" else ["float32", fast]):
        extractor: Any = load(model)  # again, because weights that were rounded stay so
        extractor.to(device, DTYPES[dtype])
        if compiled:
            extractor.compile()
        run = results[dtype] = {}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if device == "cpu":
                sound = mixed_sound(clips, extractor.sample_rate)
                run["mixed"], baseline = on_mixed_lengths(
                    extractor, sound, folder, budgets, dtype, repeats, baseline
                )
            many = 8 if device == "cpu" else 960
            run["equal"] = on_equal_lengths(
                extractor, budgets[0], device, DTYPES[dtype], repeats, many
            )
            if device == "cuda":
                run["flac"] = from_flac(extractor, folder, dtype, jobs or cores, 2000)
        click.echo(f"{model} on {device} in {dtype}")
        click.echo("\n".join(itertools.chain.from_iterable(told(part) for part in run.values())))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"extraction-{device}.json").write_text(
        json.dumps(results, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
