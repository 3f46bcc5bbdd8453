"""The whole chain on embedded data: synthesise, extract, probe, leaderboard, plots."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from svuprobe import api
from svuprobe.probe.protocol import preset

TASKS = ("technique", "singer", "transcription")
MODELS = ("logmel", "mfcc", "random:wav2vec2-tiny")
SONGS = 12


def run(out: Path, *, progress: Any = None, wrap: Any = None, say: Callable[[str], None] = print) -> None:
    """Run every stage under ``out``; what is there already is not done again."""
    started = time.perf_counter()
    data, features, results, plots = (out / name for name in ("data", "features", "results", "plots"))
    say("The chain on synthetic singing: it shows that everything works, nothing about real voices.\n")
    say("1/4 Synthesise 20 singers, ten techniques and a set of songs")
    api.synth(("technique",), data, progress=wrap, say=say)
    api.synth(("transcription",), data, clips=SONGS, progress=wrap, say=say)
    say("\n2/4 Extract: each front end runs once, every layer goes to HDF5")
    reports = api.extract(MODELS, TASKS, data=api.Data(data), features=features, progress=progress, say=say)
    if any(report.failures for report in reports):
        raise api.ExtractError(f"{reports[0].failures[0][1]}; delete {data} and run the demo again")
    say("\n3/4 Probe: heads on the weighted sum and on each layer, six learning rates, five seeds")
    for task in TASKS:  # linear heads where every frame of every song trains four hundred of them
        protocol = preset("linear" if task == "transcription" else "svuprobe")
        api.probe([task], MODELS, features=features, results=results, protocol=protocol, progress=progress, say=say)
    say("\n4/4 Leaderboard and plots\n")
    say(api.leaderboard(results, out / "leaderboard.md"))
    pictures = [p for kind in ("layer-weights", "layer-curves") for p in api.plot(kind, results, plots)]
    say(_where_to_look(out, pictures, time.perf_counter() - started))


def _where_to_look(out: Path, pictures: list[Path], seconds: float) -> str:
    images = "\n".join(f"  {path}" for path in pictures if path.suffix == ".png")
    return f"""Done in {seconds:.0f} s. Look at
  {out / "leaderboard.md"}
{images}
  {out / "results"} (one JSON per model and task, predictions beside it)
  {out / "features"} (plain HDF5: h5py.File(".../features.h5"))

Next, with a pretrained model (downloads it once):
  svuprobe extract --task technique --model mert-v1-95m --data {out / "data"} --features {out / "features"}
  svuprobe probe --task technique --features {out / "features"} --results {out / "results"}
  svuprobe leaderboard --results {out / "results"} --out {out / "leaderboard.md"}
or with your own audio: a TOML and a CSV file in place of the task's name (README, "Your own data")."""
