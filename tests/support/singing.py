"""Synthetic audio that several tests hear, sung, played and encoded once for all of them."""

import functools
import hashlib
import os
import pickle
import uuid

import numpy as np

from svuprobe.tasks.synth import (
    artist20,
    corpus,
    giantsteps,
    gtzan,
    magnatagatune,
    mir_st500,
    mtg_jamendo,
    vocalset,
)

# What takes long in a synthetic corpus that is made in more than one module of tests.
SINGS = (
    (vocalset, "technique_clip"),
    (mir_st500, "melody"),
    (artist20, "melody"),
    *((module, "track") for module in (giantsteps, gtzan, magnatagatune, mtg_jamendo)),
    (corpus, "encoded"),
)


def kept_in(folder, sing):
    """A function whose values are kept in a folder that processes share.

    They follow from what it is given, the state of a generator included: a smaller corpus, another
    test or another process gets the same samples. A generator is left as the function leaves it.
    """

    @functools.wraps(sing)
    def kept(*given):
        generators = [each for each in given if isinstance(each, np.random.Generator)]
        path = folder / f"{_told(sing.__name__, *given)}.pickle"
        if path.exists():
            value, states = pickle.loads(path.read_bytes())
            for generator, state in zip(generators, states, strict=True):
                generator.bit_generator.state = state
            return value
        value = sing(*given)
        states = [generator.bit_generator.state for generator in generators]
        part = folder / f"{uuid.uuid4().hex}.part"
        part.write_bytes(pickle.dumps((value, states), protocol=5))
        os.replace(part, path)
        return value

    return kept


def _told(*given):
    """What a function is given, as a digest: states of generators, samples of audio, all else."""
    digest = hashlib.sha256()
    for each in given:
        if isinstance(each, np.ndarray):
            digest.update(repr((each.shape, each.dtype)).encode() + each.tobytes())
        else:
            state = each.bit_generator.state if isinstance(each, np.random.Generator) else each
            digest.update(repr(state).encode() + b"\0")
    return digest.hexdigest()
