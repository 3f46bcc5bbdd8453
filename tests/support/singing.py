"""Synthetic singing that several tests hear, sung once for all of them."""

import functools
import hashlib
import os
import pickle
import uuid

import numpy as np

from svuprobe.tasks.synth import mir_st500, vocalset

# What sings VocalSet's takes, and MIR-ST500's songs.
SINGS = ((vocalset, "technique_clip"), (mir_st500, "melody"))


def kept_in(folder, sing):
    """A function whose values are kept in a folder that processes share.

    They follow from what it is given, the state of a generator included: a smaller corpus, another
    test or another process gets the same samples.
    """

    @functools.wraps(sing)
    def kept(*given):
        told = [
            each.bit_generator.state if isinstance(each, np.random.Generator) else each
            for each in given
        ]
        name = hashlib.sha256(repr((sing.__name__, told)).encode()).hexdigest()
        path = folder / f"{name}.pickle"
        if not path.exists():
            part = folder / f"{uuid.uuid4().hex}.part"
            part.write_bytes(pickle.dumps(sing(*given), protocol=5))
            os.replace(part, path)
        return pickle.loads(path.read_bytes())

    return kept
