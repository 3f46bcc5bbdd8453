"""Train every supervised baseline on the synthetic data of its task, and see that it beats chance.

``python tests/by_hand/baselines_against_chance.py [--only NAME] [--folder
FOLDER]`` synthesises the data of three tasks and runs ``svuprobe finetune`` for each baseline with
its recipe, but smaller batches and few epochs. It prints scores and ends with exit code 1 where one
is not above chance: at clip level the lower end of its interval, for notes, where chance is no note
at all, an F of onsets, pitches and offsets of at least five points. On two cores all of it takes
about two hours; ``jdcnote`` and ``efficientnet-svt`` take minutes an epoch.

The encoder under ``wav2vec2-large-last`` is a stand-in with random weights: wav2vec 2.0 in the
layout of the large model, as wide, with two blocks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

_LEAST_F = 0.05
_STAND_IN = """
import sys
from svuprobe import cli
from svuprobe.probe import adapt
adapt._LARGE = sys.argv.pop(1)
cli.main()
"""


@dataclass(frozen=True)
class Short:
    """A task, and how much of a recipe is run: epochs of each stage, windows in a step."""

    task: str
    epochs: int
    batch_size: int
    # bfloat16, where a CPU has it, is faster for some networks and slower for others.
    dtype: str = "float32"


RUNS = {
    "crnn": Short("singer-artist20", 6, 16),
    "crnn-released": Short("singer-artist20", 6, 16),
    "cnn1d": Short("technique", 6, 8),
    "oblong-cnn": Short("technique", 3, 8),
    "dcnn-crt": Short("technique", 3, 8),
    "efficientnet-svt": Short("transcription", 12, 1),
    "jdcnote": Short("transcription", 5, 1, "bfloat16"),
    "wav2vec2-large-last": Short("transcription", 3, 1),
}
CLIPS = {"singer-artist20": 400, "transcription": 60}  # the others have enough by themselves


def write_stand_in(folder: Path) -> Path:
    """A checkpoint of two blocks in the layout of wav2vec 2.0 large."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=2,
        num_attention_heads=16,
        intermediate_size=1024,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def run(
    name: str, short: Short, data: Path, results: Path, stand_in: str
) -> tuple[str, float, float, float]:
    """Train; the ranked metric, its value, what has to lie above chance, and chance."""
    options = (
        f"--task {short.task} --epochs {short.epochs} --batch-size {short.batch_size} --dtype "
        f"{short.dtype}"
    )
    command = [
        sys.executable,
        "-c",
        _STAND_IN,
        stand_in,
        "finetune",
        "--model",
        name,
        *options.split(),
    ]
    command += ["--seeds", "1", "--overwrite"]
    subprocess.run([*command, "--data", str(data), "--results", str(results)], check=True)
    (path,) = results.glob(f"{name}@*/{short.task}.synthetic/*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    ranked = found["task"]["ranked"]
    score = found["scores"][ranked]
    if found["task"]["kind"] == "notes":
        return ranked, score["mean"], score["mean"] - _LEAST_F, found["chance"][ranked]
    return ranked, score["mean"], score["ci95"][0], found["chance"][ranked]


@click.command()
@click.option(
    "--only", multiple=True, type=click.Choice(list(RUNS)), help="Repeatable; all if not given."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="For data and results; a temporary one if not given.",
)
def main(only: tuple[str, ...], folder: Path | None) -> None:
    """Synthesise, train, judge."""
    names = only or tuple(RUNS)
    failed = []
    with ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for task in dict.fromkeys(RUNS[name].task for name in names):
            words = ["data", "synth", "--task", task, "--out", str(folder / "data")]
            words += ["--clips", str(CLIPS[task])] if task in CLIPS else []
            subprocess.run([sys.executable, "-m", "svuprobe", *words], check=True)
        stand_in = f"hf:{write_stand_in(folder / 'large')}"
        for name in names:
            metric, score, low, chance = run(
                name, RUNS[name], folder / "data", folder / "results", stand_in
            )
            click.echo(f"{name} on {RUNS[name].task}: {metric} {score:.3f}, chance {chance:.3f}")
            if low <= chance:
                failed.append(name)
    if failed:
        raise click.ClickException(f"not above chance: {', '.join(failed)}")


if __name__ == "__main__":
    main()
