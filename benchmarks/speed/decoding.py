"""Decoding: processor seconds for an hour of audio, from a file to what a model is given.

``python benchmarks/speed/decoding.py [--seconds 60]`` writes a minute of stereo at 44.1 kHz as WAV,
FLAC and MP3, and reads each as extraction does: decoded, mixed to one channel, resampled. The
processor's time is this process's alone, and the best of five rounds: it hardly depends on what
else runs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import soundfile

from svuprobe.extractors.audio import load_clip
from svuprobe.tasks.types import Clip

RATE, ROUNDS = 44100, 5
FORMATS = ("wav", "flac", "mp3")
MODEL_RATES = (16000, 24000)


def write(path: Path, seconds: int) -> None:
    """Write a tone that beats, in noise; a second at a time, as encoders like small blocks."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        for second in range(seconds):
            time_s = second + np.arange(RATE) / RATE
            tone = 0.3 * np.sin(2 * np.pi * 220 * time_s) * np.sin(2 * np.pi * 3 * time_s)
            mono = tone + 0.05 * rng.normal(size=RATE)
            file.write(np.stack([mono, mono], axis=1).astype(np.float32))


def cpu_seconds(path: Path, rate: int) -> float:
    """Return the least processor time that decoding took."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        load_clip(Clip("clip", str(path), "", "", ""), rate)
        times.append(time.process_time() - started)
    return min(times)


@click.command()
@click.option("--seconds", default=60, show_default=True, help="Of audio in each file.")
def main(seconds: int) -> None:
    """Print a line for each format and rate."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in FORMATS:
            path = Path(folder, f"one.{suffix}")
            write(path, seconds)
            for rate in MODEL_RATES:
                spent = cpu_seconds(path, rate) * 3600 / seconds
                click.echo(f"{suffix} to {rate} Hz: {spent:.1f} CPU s for an hour of audio")


if __name__ == "__main__":
    main()
