"""Memory that extraction holds for one very long file at frame level.

``python benchmarks/speed/long_file.py [--hours 2] [--model random:wav2vec2-base] [--device cpu]``
writes a stereo file at 44.1 kHz and extracts it, in one clip of windows of 5 s, and prints the peak
of what this process and its decoding process held, beside what this one held before with the model
loaded. Linux only (it reads VmHWM). An hour of a base model's features takes 3.4 GiB of disk, and
of the file 0.6.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np
import soundfile

from svuprobe._run_options import RunOptions
from svuprobe.extractors.extract import extract
from svuprobe.extractors.jobs import Corpus
from svuprobe.extractors.loading import load
from svuprobe.tasks.types import Clip, Windowing

_RATE = 44_100


def write(path: Path, hours: float) -> None:
    """Noise whose level rises and falls, 16-bit stereo, a minute at a time."""
    rng = np.random.default_rng(0)
    swell = 0.1 * (1 + np.sin(2 * np.pi * np.arange(60 * _RATE) / (7 * _RATE)))
    with soundfile.SoundFile(path, "w", _RATE, 2) as file:
        for _ in range(round(60 * hours)):
            file.write(swell[:, None] * rng.standard_normal((60 * _RATE, 2), dtype=np.float32))


def held_mib(process: str, field: str = "VmHWM") -> float:
    """Resident memory of a process, or its peak."""
    lines = (Path("/proc") / process / "status").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field].split()[0]) / 2**10


class Children(threading.Thread):
    """Watches the processes that this one starts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0

    def run(self) -> None:
        """Until the process ends."""
        while True:
            for task in Path("/proc/self/task").glob("*/children"):
                try:
                    self.peak_mib = max(
                        [
                            self.peak_mib,
                            *(
                                held_mib(child)
                                for child in task.read_text(encoding="utf-8").split()
                            ),
                        ]
                    )
                except (OSError, KeyError):  # it has just ended
                    continue
            time.sleep(0.2)


@click.command()
@click.option("--hours", default=2.0, show_default=True)
@click.option("--model", default="random:wav2vec2-base", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="auto", show_default=True)
def main(hours: float, model: str, device: str, dtype: str) -> None:
    """Write, extract, print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "long.wav", hours)
        extractor = load(model)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
        before = held_mib("self", "VmRSS")
        children = Children()
        children.start()
        started = time.perf_counter()
        (report,) = extract(
            [extractor],
            Corpus(
                "long",
                Windowing(5.0),
                "frame",
                [Clip("long", str(folder / "long.wav"), "test", None, "long")],
            ),
            folder / "features",
            RunOptions(device=device, dtype=dtype, jobs=1),
        )
        size = sum(path.stat().st_size for path in report.directory.rglob("*.h5")) / 2**30
        if report.done != 1:
            raise click.ClickException(f"not extracted: {report.failures}")
    click.echo(
        f"{model}, {hours:g} h at frame level: {size:.2f} GiB of features in "
        f"{time.perf_counter() - started:.0f} s; peak {held_mib('self') - before:.0f} MiB beyond "
        f"the {before:.0f} MiB held before, model included; decoding process "
        f"{children.peak_mib:.0f} MiB"
    )


if __name__ == "__main__":
    main()
