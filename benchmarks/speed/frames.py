"""Frame caches larger than memory: probing within a bound, against its two parts alone, in one run.

``python benchmarks/speed/frames.py [--memory 512] [--times 4] [--epochs 3] [--seeds 1] [--out
FILE.json]`` makes up a frame-level cache (13 x 768, songs of 60 s at 50 frames/s) whose training
and validation split are ``--times`` the ``--memory`` in MiB, and runs three processes, each of
which first has its files put out of the system's page cache, again in every epoch:

stream
    Trains a grid of linear heads (14 layer choices x 6 learning rates x ``--seeds``) with the
    memory allowed.
read
    Reads the blocks of the epochs and does nothing with them.
compute
    Trains on what is in memory, with no bound.

Memory is the process's peak above what it held once everything was imported.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from svuprobe.extractors.cache import FeatureCache, Header, Row, ShardWriter, join, plan_shards
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.training.features import Block, Steps
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.splits import rows_by_split
from svuprobe.probe.training.train import fit
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import Clip, Task, Windowing

LAYERS, DIM, WINDOWS, FRAMES = 13, 768, 12, 250
SONG_BYTES = 2 * LAYERS * DIM * WINDOWS * FRAMES


def listed(songs: int) -> ClipList:
    """Songs with notes every half second; a sixth of them validates, and one more is there to
    test.
    """
    notes = tuple((0.5 * n + 0.1, 0.5 * n + 0.5, 48 + n % 24) for n in range(2 * 60))
    split = ["valid" if n % 6 == 5 else "train" for n in range(songs)] + ["test"]
    clips = tuple(Clip(f"song{n}", "", s, notes, str(n)) for n, s in enumerate(split))
    task = Task(
        "made-up", "made-up", "notes", ("conpoff_f",), lambda root: [], Windowing(5.0), "", ""
    )
    return ClipList(task, clips, (), False)


def write(folder: Path, clips: ClipList) -> None:
    """A cache of noise, the same for every window: what is learnt does not matter here."""
    names = tuple(f"block{n:02d}" for n in range(LAYERS))
    kind = ("none", "float32", "made-up", "5s", "frame")
    head = Header("made-up", "0", "0", 0, 16000, 320, 400, names, DIM, *kind)
    window = np.random.default_rng(0).normal(size=(FRAMES, LAYERS, DIM)).astype(np.float16)
    for name, ids in plan_shards(folder, head, {c.id: 60.0 for c in clips.clips}).items():
        with ShardWriter(folder / name, head) as writer:
            for clip_id in ids:
                for n in range(WINDOWS):
                    writer.append(window, [Row(clip_id, n, 5.0 * n, FRAMES, "")])
            writer.commit({})
    join(folder)


class Uncached(FrameFeatures):
    """Features whose files leave the page cache before each epoch."""

    def epoch(self, number: int, seed: int = 0) -> Iterator[tuple[Block, Steps]]:
        """As it is, from the disk."""
        for path in self.cache.directory.glob("*.h5"):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        return super().epoch(number, seed)


def peak_mib() -> float:
    """The most that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def part(
    what: str, folder: Path, songs: int, memory: int, epochs: int, seeds: int
) -> dict[str, float]:
    """Seconds per epoch, and MiB held, of one of the three."""
    protocol = preset("linear", max_epochs=epochs, patience=epochs, seeds=seeds)
    clips = listed(songs)
    cache = FeatureCache(folder)
    splits, _ = rows_by_split(cache, clips, False)
    before = peak_mib()
    allowed = 1 << 40 if what == "compute" else memory << 20
    features = Uncached(cache, splits, clips, protocol, "cpu", allowed)
    assert features.resident == (what == "compute")
    wall, cpu = time.perf_counter(), time.process_time()
    if what == "read":
        for epoch in range(epochs):
            for _ in features.epoch(epoch):
                pass
    else:
        fit(features, protocol, DIM)
    seconds = (time.perf_counter() - wall) / epochs, (time.process_time() - cpu) / epochs
    return {"wall_s": seconds[0], "cpu_s": seconds[1], "mib": peak_mib() - before}


@click.command()
@click.option("--memory", default=512, help="MiB allowed.")
@click.option("--times", default=4.0, help="The cache in units of it.")
@click.option("--epochs", default=3)
@click.option("--seeds", default=1)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the cache goes; a temporary folder."
)
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file for all numbers.")
@click.option("--part", "only", hidden=True)
def main(
    memory: int,
    times: float,
    epochs: int,
    seeds: int,
    folder: Path | None,
    out: Path | None,
    only: str | None,
) -> None:
    """Time the three and print their ratio."""
    songs = -(-round(times * memory * 2**20) // SONG_BYTES)
    if only is not None:
        assert folder is not None
        click.echo(json.dumps(part(only, folder, songs, memory, epochs, seeds)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = folder or Path(made) / "cache"
        write(folder, listed(songs))
        found: dict[str, Any] = {}
        for what in ("stream", "read", "compute"):
            command = [sys.executable, __file__, "--part", what, "--folder", str(folder)]
            for name, value in (
                ("memory", memory),
                ("times", times),
                ("epochs", epochs),
                ("seeds", seeds),
            ):
                command += [f"--{name}", str(value)]
            found[what] = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            )
            row = found[what]
            click.echo(
                f"{what:>8}: {row['wall_s']:7.2f} s wall {row['cpu_s']:7.2f} s CPU an epoch, "
                f"{row['mib']:6.0f} MiB"
            )
    ratio = found["stream"]["wall_s"] / max(found["read"]["wall_s"], found["compute"]["wall_s"])
    size = songs * SONG_BYTES / 2**20
    click.echo(f"{size:.0f} MiB within {memory} MiB at {ratio:.2f} times the slower part")
    if out is not None:
        about = {"cores": os.cpu_count(), "load_after": os.getloadavg()[0], "heads": 14 * 6 * seeds}
        out.write_text(
            json.dumps(
                about | {"cache_mib": size, "memory_mib": memory, "ratio": ratio} | found, indent=1
            )
            + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
