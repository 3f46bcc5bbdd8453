"""A run that is killed, wherever it is, ends as an undisturbed one: to the same bytes.

Every run is a process of its own, which has the libraries of this one.
"""

import importlib
import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from pretraining import TINY, melodies, recipe_of, trained
from processes import CONTEXT

from svuprobe import _tensors
from svuprobe._errors import UserError
from svuprobe._files import locked
from svuprobe.api import pretraining
from svuprobe.pretrain import clusters, model_folder, recordings
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.pretrain.train import Training

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL")

STEPS = 4
# Dropout and layerdrop are on; two speeds, so that a recording and its copy are both decoded.
CHANGES = TINY | {
    "crop_s": 0.5,
    "least_s": 0.3,
    "batch_s": 1.0,
    "steps": STEPS,
    "mask_span": 5,
    "speeds": [0.9, 1.0],
    "learning_rate": 1e-3,
}
TARGETS = {"targets": ["mfcc39:8", "chroma12:4"]}
RECIPES = {
    "music2vec": recipe_of("music2vec", **CHANGES),
    "musichubert": recipe_of("musichubert", **CHANGES | TARGETS),
}


def die(*args, **options):
    """End this process as the system does that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def nth(call, count, before):
    """A function that does the same as another, and dies at one of its calls: before or after."""
    calls = []

    def counted(*args, **options):
        calls.append(args)
        if before and len(calls) == count:
            die()
        result = call(*args, **options)
        if len(calls) == count:
            die()
        return result

    return counted


# Where a run may be killed: module or class, its function, and whether before it or after it.
PLACES = {
    "decoding": (recordings._Writer, "add", True),
    "clustering": (clusters, "_nearest", True),
    "step": (Training, "_step", False),
    "checkpoint": (_tensors, "write_tensors", False),
    "model": (model_folder, "card", False),
}


def go(preset, audio, out, resume, place, count, most_bytes):
    """Train in a process that ends with an exit code; what it says is in ``out.txt``."""
    if place:
        where, name, before = PLACES[place]
        setattr(where, name, nth(getattr(where, name), count, before))
        recordings._SAVED_EVERY = 2
    # Drawing takes longer than training here, and its tests are elsewhere.
    pretraining.save_training_curve = lambda rows, path, name: None
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    code, said = 0, ""
    try:
        trained(RECIPES[preset], Path(audio), Path(out), resume=resume, save_every=2, log_every=3)
    except UserError as error:
        code, said = 1, str(error)
    except BaseException as error:
        code, said = 3, repr(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    Path(f"{out}.txt").write_text(said)
    sys.exit(code)


@pytest.fixture(scope="module")
def start():
    """Run `go` in a process of its own; returns its exit code."""
    # What is read when training first needs it, which no process shall do again.
    for name in ("sklearn.cluster", "soxr", "torch._dynamo", "svuprobe.extractors.loading"):
        importlib.import_module(name)
    for name in ("Data2VecAudioModel", "HubertModel"):
        getattr(transformers, name)

    def started(preset, audio, out, *, resume=False, place="", count=0, most_bytes=0):
        asked = (preset, audio, out, resume, place, count, most_bytes)
        process = CONTEXT.Process(target=go, args=asked)
        process.start()
        process.join()
        return process.exitcode

    return started


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    folder = melodies(tmp_path_factory.mktemp("audio"), 5, seconds=0.75)
    (folder / "03.wav").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, start, audio):
    """Folders of undisturbed runs."""
    made = {}

    def folder(preset):
        if preset not in made:
            made[preset] = tmp_path_factory.mktemp("whole") / preset
            assert start(preset, audio, made[preset]) == 0, Path(f"{made[preset]}.txt").read_text()
        return made[preset]

    return folder


def same(one, other):
    """Whether two folders hold the same model, targets and curve."""
    for name in model_folder.FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert (one / "run" / "audio.i16").read_bytes() == (other / "run" / "audio.i16").read_bytes()
    targets = [sorted(p.name for p in f.glob("run/targets-*.h5")) for f in (one, other)]
    assert targets[0] == targets[1]
    curves = []
    for folder in (one, other):
        lines = (folder / "run" / "curve.csv").read_text().splitlines()
        curves.append([line.rpartition(",")[0] for line in lines])  # less the seconds
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("preset", "place", "most"),
    [
        ("musichubert", "decoding", 5),
        ("musichubert", "clustering", 12),
        ("music2vec", "step", STEPS),
        ("musichubert", "checkpoint", 2),
        ("musichubert", "model", 1),
    ],
)
def test_a_killed_run_ends_as_an_undisturbed_one(
    tmp_path, start, audio, whole, preset, place, most
):
    count = int(np.random.default_rng().integers(1, most + 1))
    out = tmp_path / "killed"
    assert start(preset, audio, out, place=place, count=count) == -signal.SIGKILL
    if (out / "run" / "checkpoint.safetensors").exists():
        with pytest.raises(PretrainError, match="holds a training; go on with --resume"):
            trained(RECIPES[preset], audio, out)
    assert start(preset, audio, out, resume=True) == 0, Path(f"{out}.txt").read_text()
    same(out, whole(preset))
    # Nothing half-written is left, and the folder is free.
    left = [p.name for p in out.rglob("*") if ".tmp-" in p.name or p.suffix == ".lock"]
    assert left == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
def test_a_full_disk_is_one_line_and_the_run_goes_on(tmp_path, start, audio, whole):
    """A limit of a file's size stands for the disk: EFBIG in the place of ENOSPC."""
    out = tmp_path / "full"
    # Samples take 130 kB, a checkpoint of the tiny network more than a megabyte.
    assert start("musichubert", audio, out, most_bytes=300_000) == 1
    line = Path(f"{out}.txt").read_text()
    assert line.startswith(
        f"{out / 'run' / 'checkpoint.safetensors'}: can't be written (File too large)"
    )
    assert "\n" not in line
    assert start("musichubert", audio, out, resume=True) == 0
    same(out, whole("musichubert"))


def test_two_processes_do_not_train_in_one_folder(tmp_path, audio):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run" / "training", wait=False) as mine:
        assert mine
        with pytest.raises(PretrainError, match="another process is training there; wait for it"):
            trained(RECIPES["music2vec"], audio, tmp_path)
