"""A folder of made-up recordings with a manifest, laid out as the one that the suite ``real``
takes.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import soundfile

DATA = Path(__file__).parents[1] / "data"
SPEAKERS = ("jackson", "nicolas", "theo", "yweweler")
FAMILIES = ("bass", "guitar", "string")
RATE = 16000


def tone(pitch_hz, seconds, harmonics, rng, noise=0.005):
    """A tone with some harmonics, each a little off, in noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    parts = [np.sin(2 * np.pi * n * pitch_hz * time) / n for n in range(1, harmonics + 1)]
    return 0.2 * sum(parts) + noise * rng.normal(size=len(time))


def write(folder):
    """Write recordings and ``manifest.csv``; returns its path.

    Digits differ in pitch, speakers in noise, families in harmonics.
    """
    rng = np.random.default_rng(0)
    rows = []

    def add(path, samples, **labels):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, samples, RATE)
        rows.append({"path": path, "labels": json.dumps(labels)})

    for number, (speaker, noise) in enumerate(
        zip(SPEAKERS, (0.001, 0.01, 0.04, 0.16), strict=True)
    ):
        for digit in range(10):
            for take in range(3):
                path = f"spoken_digits/{digit}_{speaker}_{take}.flac"
                pitch = (150 + 90 * digit) * (1 + 0.01 * number)
                add(path, tone(pitch, 0.4, 3, rng, noise), speaker=speaker, digit=digit)
    for harmonics, family in zip((1, 4, 16), FAMILIES, strict=True):
        for instrument in range(3):
            for note in range(6):
                path = (
                    f"nsynthlike/audio/{family}_acoustic_{instrument:03d}-{48 + note:03d}-100.flac"
                )
                add(
                    path, tone(120 + 12 * note, 0.5, harmonics, rng), family=family, pitch=48 + note
                )
        add(
            f"nsynth/audio/{family}_acoustic_009-060-100.flac",
            tone(260, 0.5, harmonics, rng),
            family=family,
            pitch=60,
        )
    for song in range(10):
        notes = f"singing_songs/song{song}.notes.csv"
        add(f"singing_songs/song{song}.flac", tone(220, 6.0, 3, rng), artist="nobody", notes=notes)
        shutil.copy(DATA / "on_the_run.notes.csv", folder / notes)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "labels"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"
