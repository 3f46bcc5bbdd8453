"""Synthetic vocadito: excerpts of solo singing with their f0, in its official folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.melody import METADATA, TRACKS
from svuprobe.tasks.synth.corpus import Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.takes import contour
from svuprobe.tasks.synth.voice import singers

SAMPLE_RATE = 44100
_HOP_S = 256 / SAMPLE_RATE  # of the f0, as published
_SECONDS = 8.0
_SINGERS = 20  # voices that the synthesiser has


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` excerpts (default 20) as ``root/Audio/vocadito_<n>.wav`` with their f0.

    44.1 kHz mono PCM16 of 8 s, one voice each. The f0 is what the voice was told to sing, before
    the jitter of its periods; it is in ``root/Annotations/F0/vocadito_<n>_f0.csv``, and who sings
    in ``root/vocadito_metadata.csv``. Parameters and errors are those of
    `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("vocadito", seed, clips, default=20, high=TRACKS)
    tracks = list(range(1, header["clips"] + 1))
    cast = singers(seed)
    times = np.arange(0, _SECONDS, _HOP_S)
    sung: dict[int, np.ndarray] = {}

    def make(track: int) -> Recording:
        path = f"Audio/vocadito_{track}.wav"
        rng = rng_of(seed, path)
        # Sung even where the file is there: its f0 is known only then.
        audio, sung[track] = contour(cast[_voice(track)], _SECONDS, times, rng, SAMPLE_RATE)
        return Recording(path, _SECONDS, SAMPLE_RATE, lambda: audio)

    def texts() -> dict[str, str]:
        rows = ["track_id,singer_id,average_pitch,language"]
        files = {}
        for track in tracks:
            hz = sung[track]
            pitch = 69 + 12 * np.log2(np.median(hz[hz > 0]) / 440)
            rows.append(f"{track},S{_voice(track) + 1},{pitch:.0f},none")
            lines = [
                f"{time!r},{value:.3f}" for time, value in zip(times.tolist(), hz, strict=True)
            ]
            files[f"Annotations/F0/vocadito_{track}_f0.csv"] = "\n".join(lines) + "\n"
        return files | {METADATA: "\n".join(rows) + "\n"}

    write_corpus(root, header, tracks, make, reporter=reporter, jobs=jobs, texts=texts)


def _voice(track: int) -> int:
    return (track - 1) % _SINGERS
