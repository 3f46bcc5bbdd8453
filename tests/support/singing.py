"""Takes of the synthetic VocalSet that several tests hear, sung once for all of them."""

import hashlib
import os
import uuid

import numpy as np

from svuprobe.tasks.synth import vocalset


def kept_in(folder):
    """`technique_clip`, whose audio (samples,) float32 is kept in a folder that processes share.

    A take follows from who sings, what, and the state of the generator: a smaller corpus, another
    test or another process gets the same samples.
    """
    sing = vocalset.technique_clip

    def technique_clip(singer, technique, context, vowel, seconds, rng, rate):
        told = (singer, technique, context, vowel, seconds, rng.bit_generator.state, rate)
        path = folder / f"{hashlib.sha256(repr(told).encode()).hexdigest()}.npy"
        if not path.exists():
            audio = sing(singer, technique, context, vowel, seconds, rng, rate)
            part = folder / f"{uuid.uuid4().hex}.part"
            with part.open("wb") as file:
                np.save(file, audio)
            os.replace(part, path)
        return np.load(path)

    return technique_clip
