"""Audio made up for pre-training, and recipes that are trained on it in seconds."""

from pathlib import Path

import numpy as np
import soundfile

from svuprobe import api
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recordings import Recording, Recordings

RATE = 16_000

# Fields that make a paper's recipe small: its network has 12 narrow blocks, a crop lasts a second.
TINY = {
    "size": "tiny",
    "crop_s": 1.0,
    "least_s": 0.5,
    "batch_s": 4.0,
    "steps": 4,
    "cluster_inits": 1,
    "cluster_share": 1.0,
}


def note(hz, seconds, harmonics=5):
    """A tone (samples,) float32 of harmonics that get softer, with a soft start and end."""
    times = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * hz * h * times) / h for h in range(1, harmonics + 1))
    ramp = np.minimum(1, np.minimum(times, times[::-1]) / 0.01)
    return (0.2 * tone * ramp).astype(np.float32)


def melodies(folder, n, *, seconds=1.5, note_s=0.25, pitches=8, seed=0):
    """``n`` files of notes one after the other, drawn of a major scale; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19])[:pitches] / 12)
    for number in range(n):
        notes = [note(hz, note_s) for hz in rng.choice(scale, round(seconds / note_s))]
        soundfile.write(folder / f"{number:02d}.wav", np.concatenate(notes), RATE)
    return folder


def recordings_of(folder, arrays, speeds=None):
    """Decoded recordings of arrays of samples (n,), as if each came from a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    listed, start = [], 0
    with (folder / "audio.i16").open("wb") as out:
        for number, audio in enumerate(arrays):
            rounded = np.rint(np.asarray(audio) * 32768).astype("<i2")
            out.write(rounded.tobytes())
            scaled = rounded / 32768
            speed = speeds[number] if speeds else 1.0
            listed.append(
                Recording(
                    f"{number}.wav",
                    f"{number:064x}",
                    speed,
                    start,
                    len(rounded),
                    float(scaled.mean()),
                    float(scaled.std()),
                )
            )
            start += len(rounded)
    return Recordings(folder / "audio.i16", RATE, listed)


def recipe_of(preset, **changes):
    """A preset with fields changed, some of which may be of other presets."""
    return PRESETS[preset].with_fields(changes)


def trained(recipe, audio, out, **options):
    """What pre-training leaves, decoded in this process."""
    return api.pretrain(
        recipe, audio, out=Path(out), options=PretrainOptions(device="cpu", jobs=0, **options)
    )
