"""Speed of an encoder that svuprobe computes with its own code, at its real size.

``python benchmarks/speed/encoders.py NAME [--original MODULE:FUNCTION]`` gives an encoder of the
catalogue random weights and runs, in turns and in one process,

- *svuprobe*: clips of one length in batches of as many seconds as extraction takes;
- *original*: a plain loop, one clip after the other, over an implementation that is installed.
  FUNCTION takes svuprobe's network, whose weights it copies, and returns a function from audio
  (1, samples) to hidden states, each (1, frames, dim); `originals` has them. It stays in float32.
  ``difference`` is the largest relative one over clips and layers: the weights are the same;
- *transformers*, where no original is given: a plain loop over as many blocks of its
  Wav2Vec2Conformer on random frames. The blocks aren't the encoder's and the spectrogram and
  convolutions are missing, so that only operations per second compare;
- *ceiling*: a 4096 x 4096 matrix product.

Operations are those of matrix products, convolutions and attention, as torch counts them, two for a
multiplication and an addition. ``times_plain`` is the original's time over svuprobe's, or
svuprobe's operations a second over those of transformers' blocks; ``share_of_ceiling`` is
svuprobe's operations a second over the product's. Seconds are CPU seconds of this process, which
other processes disturb less than wall time; ratios are medians over the rounds. Results are
printed, and go to ``encoders-cpu.json`` beside those of other encoders.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch
from extraction import in_turns, machine, product, ratio
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from svuprobe._machine import keep_freed_memory
from svuprobe.extractors.batching import DTYPES, batch_seconds_for
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.loading import load
from svuprobe.extractors.models.native import NativeExtractor
from svuprobe.extractors.networks.table import FAMILIES

NAMES = [name for name, card in CATALOGUE.items() if card.family in FAMILIES]
_PRODUCT = 4096

Plain = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Contender:
    """Hold a way to run an encoder on all clips, and how many operations that takes."""

    run: Callable[[], Any]
    operations: float


def batched(extractor: NativeExtractor, clips: Sequence[Tensor]) -> Tensor:
    """Run svuprobe's way on clips of one length, (clips, layers, dim) of means over time."""
    samples = len(clips[0])
    size = max(1, int(batch_seconds_for("cpu") * extractor.sample_rate / samples))
    made = []
    for start in range(0, len(clips), size):
        audio = torch.stack(list(clips[start : start + size]))
        states, _ = extractor(audio, torch.full((len(audio),), samples))
        made.append(states.mean(dim=2, dtype=torch.float32))
    return torch.cat(made)


def looped(plain: Plain, clips: Sequence[Tensor]) -> Tensor:
    """Run a plain loop, (clips, layers, dim) of means over time."""
    made = []
    for clip in clips:
        states = plain(clip[None])
        made.append(torch.stack([state.mean(dim=1, dtype=torch.float32)[0] for state in states]))
    return torch.stack(made)


def original(where: str, extractor: NativeExtractor) -> Plain:
    """Make the original with the weights of svuprobe's network."""
    module, _, function = where.partition(":")
    made: Plain = getattr(import_module(module), function)(extractor.network)
    return made


def conformer(extractor: NativeExtractor, samples: int, dtype: torch.dtype) -> Plain:
    """Make blocks of transformers that are as many and as wide, on random frames."""
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerModel

    frames, dim = extractor.network.grid.n_frames(samples), extractor.dim
    config = Wav2Vec2ConformerConfig(
        hidden_size=dim,
        num_hidden_layers=max(1, len(extractor.layer_names) - 1),
        num_attention_heads=max(1, dim // 64),
        intermediate_size=4 * dim,
        position_embeddings_type="rotary",
        num_conv_pos_embedding_groups=1,
        num_conv_pos_embeddings=2,
    )
    encoder = Wav2Vec2ConformerModel(config).encoder.eval().to(dtype)
    seen = torch.randn(1, frames, dim, dtype=dtype)
    return lambda audio: [encoder(seen).last_hidden_state]


def operations(run: Callable[[], Any]) -> float:
    """Count the operations of a call."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def of_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    counter = FlopCounterMode(display=False, custom_mapping={attention: of_attention})
    with counter:
        run()
    return float(counter.get_total_flops())


def measured(
    contenders: dict[str, Contender], same_work: bool, repeats: int
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Run all in turns: CPU seconds and operations per CPU second, and what each made.

    ``same_work`` is whether the plain loop computes the same, so that times compare.
    """
    calls = {name: contender.run for name, contender in contenders.items()}
    times, made = in_turns(calls, repeats, "cpu")
    results = {}
    for name, rounds in times.items():
        done = contenders[name].operations
        results[name] = {
            "cpu_s": statistics.median(cpu for cpu, _ in rounds),
            "gflops": statistics.median(done / cpu / 1e9 for cpu, _ in rounds),
        }
    own = times["svuprobe"]
    for name, rounds in times.items():
        if name == "svuprobe":
            continue
        work = contenders["svuprobe"].operations / contenders[name].operations
        if name == "plain" and same_work:
            work = 1.0
        results["svuprobe"][f"times_{name}"] = ratio(rounds, own, 0) * work
    return results, made


@click.command()
@click.argument("model", type=click.Choice(NAMES), metavar="NAME")
@click.option("--original", "where", metavar="MODULE:FUNCTION", help="Default: transformers.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each clip.")
@click.option("--clips", default=6, show_default=True)
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="float32", show_default=True)
@click.option("--threads", default=1, show_default=True, help="Of torch.")
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
    where: str | None,
    seconds: float,
    clips: int,
    dtype: str,
    threads: int,
    repeats: int,
    out: Path,
) -> None:
    """Measure, print, and write a JSON."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as the command line does; the plain loop gains from it, too
    extractor: Any = load(f"random:{model}")
    samples = round(seconds * extractor.sample_rate)
    sound = list(0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(0)))
    # Before weights are rounded.
    plain = original(where, extractor) if where else conformer(extractor, samples, DTYPES[dtype])
    extractor.to("cpu", DTYPES[dtype])

    runs: dict[str, Callable[[], Any]] = {
        "svuprobe": partial(batched, extractor, sound),
        "plain": partial(looped, plain, sound),
    }
    # Counting is the warm-up, too.
    contenders = {name: Contender(run, operations(run)) for name, run in runs.items()}
    contenders["ceiling"] = Contender(
        product("cpu", DTYPES[dtype], _PRODUCT), 2.0 * float(_PRODUCT) ** 3
    )
    results: dict[str, Any] = {
        "parameters": extractor.parameters,
        "plain_loop_over": where or "transformers' Wav2Vec2Conformer, blocks alone",
        "dtype": dtype,
        "seconds": seconds,
        "clips": clips,
        "gflop_per_second_of_audio": contenders["svuprobe"].operations / clips / seconds / 1e9,
    }
    rates, made = measured(contenders, where is not None, repeats)
    results["share_of_ceiling"] = rates["svuprobe"].pop("times_ceiling")
    results["audio_seconds_per_cpu_second"] = clips * seconds / rates["svuprobe"]["cpu_s"]
    if where:
        difference = (made["svuprobe"] - made["plain"]).norm(dim=2) / made["plain"].norm(dim=2)
        results["difference"] = float(difference.max())
    results |= rates
    for name, value in results.items():
        click.echo(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    _write(out / "encoders-cpu.json", f"{model} {dtype}", results | {"machine": machine("cpu")})


def _write(path: Path, key: str, results: dict[str, Any]) -> None:
    """Put results beside those of other encoders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | {key: results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
