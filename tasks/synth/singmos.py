"""Synthetic SingMOS: singing that systems spoil more or less, with the scores of made-up listeners.

A system of lower quality lets less of the treble through and adds more noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.singing_quality import HIGHEST, LOWEST, METADATA
from svuprobe.tasks.synth.corpus import Audio, Recording, new_header, rng_of, write_corpus
from svuprobe.tasks.synth.takes import melody
from svuprobe.tasks.synth.voice import singers

SAMPLE_RATE = 16000
_SECONDS = 2.0
_SYSTEMS = 15
_LISTENERS = 5
# Of a system's clips in turn; the next system begins one later.
_SPLITS = ("train", "valid", "eval_v1", "train", "eval_v2", "train")

Row = tuple[int, int]  # system and utterance, from 0


def write(
    root: Path,
    clips: int | None,
    seed: int,
    reporter: Reporter = SILENT,
    *,
    jobs: int | None = None,
) -> None:
    """Write ``clips`` clips (default 180) of 15 systems as ``root/wav/sysNNNN-uttNNNN.wav``.

    16 kHz mono PCM16 of 2 s, each by another voice of twenty. ``root/metadata.csv`` has the mean of
    five listeners, who each hear the quality of the system with a deviation of half a point.
    Parameters and errors are those of `svuprobe.tasks.synth.corpus.write_corpus`.
    """
    header = new_header("singmos", seed, clips, default=180, high=9999)
    rows = [(number % _SYSTEMS, number // _SYSTEMS) for number in range(header["clips"])]
    cast = singers(seed)

    def make(row: Row) -> Recording:
        path = _path(row)

        def audio() -> Audio:
            rng = rng_of(seed, path)
            sung, _ = melody(cast[int(rng.integers(len(cast)))], _SECONDS, rng, SAMPLE_RATE)
            return _spoilt(sung, row[0] / (_SYSTEMS - 1), rng)

        return Recording(path, _SECONDS, SAMPLE_RATE, audio)

    def texts() -> dict[str, str]:
        lines = ["utt_id,file_name,mos,split"]
        for row in rows:
            rng = rng_of(seed, f"{_path(row)} heard")
            goal = 1.5 + 3.0 * row[0] / (_SYSTEMS - 1)
            heard = np.rint(goal + 0.5 * rng.standard_normal(_LISTENERS)).clip(LOWEST, HIGHEST)
            split = _SPLITS[(row[0] + row[1]) % len(_SPLITS)]
            lines.append(f"{_name(row)},{_path(row)},{heard.mean():.1f},{split}")
        return {METADATA: "\n".join(lines)}

    write_corpus(root, header, rows, make, reporter=reporter, jobs=jobs, texts=texts)


def _spoilt(audio: Audio, quality: float, rng: np.random.Generator) -> Audio:
    """Return a clip as a system of a quality, 0 to 1, gives it back."""
    corner_hz = 1200.0 * 6.0**quality
    low = sosfilt(butter(4, corner_hz, fs=SAMPLE_RATE, output="sos"), audio)
    noise = 10 ** (-(25 + 35 * quality) / 20) * rng.standard_normal(len(audio))
    return np.clip(0.9 * low + noise, -1.0, 1.0).astype(np.float32)


def _name(row: Row) -> str:
    return f"sys{row[0] + 1:04d}-utt{row[1] + 1:04d}"


def _path(row: Row) -> str:
    return f"wav/{_name(row)}.wav"
