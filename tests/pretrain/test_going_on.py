"""Going on after an interruption: what may have changed meanwhile, and what is refused before hours
are spent on it.
"""

import os
import shutil
import stat
import sys

import h5py
import numpy as np
import pytest
import soundfile
from full_disks import limited
from pretraining import TINY, melodies, recipe_of, trained

from svuprobe._errors import FileError
from svuprobe._progress import Reporter
from svuprobe.api import pretraining
from svuprobe.pretrain.model_folder import FILES
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.train import Training

CHANGES = TINY | {
    "crop_s": 0.5,
    "least_s": 0.3,
    "batch_s": 1.0,
    "steps": 3,
    "mask_span": 5,
    "targets": ["mfcc39:8"],
}
RECIPE = recipe_of("musichubert", **CHANGES)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Leave out the picture of the curve, which takes longer than a training here."""
    monkeypatch.setattr(pretraining, "save_training_curve", lambda rows, path, name: None)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Audio with a file that can't be read, and the folder of a training on it."""
    folder = tmp_path_factory.mktemp("first")
    audio = melodies(folder / "audio", 4, seconds=0.75)
    (audio / "broken.wav").write_text("no sound")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretraining, "save_training_curve", lambda rows, path, name: None)
        trained(RECIPE, audio, folder / "out", save_every=2, log_every=1)
    return folder


@pytest.fixture
def folder(first, tmp_path):
    """A copy of these, to be changed."""
    shutil.copytree(first, tmp_path / "copy")
    return tmp_path / "copy"


def decoded(out):
    """All that was made before the training."""
    return {path.name: path.read_bytes() for path in (out / "run").iterdir()}


def add(audio):
    soundfile.write(audio / "new.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 16_000)


def change(audio):
    soundfile.write(audio / "02.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 16_000)


def take_away(audio):
    (audio / "02.wav").unlink()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (add, "new.wav is new"),
        (change, "02.wav is changed or no longer there"),
        (take_away, "02.wav is changed or no longer there"),
    ],
)
def test_other_audio_is_refused_before_it_is_decoded(folder, what, words):
    """What the checkpoint's own run decoded is still there, for when the same audio is given."""
    shutil.move(folder / "audio", folder / "moved")
    trained(RECIPE, folder / "moved", folder / "out", resume=True)  # it may lie elsewhere
    before = decoded(folder / "out")
    what(folder / "moved")
    with pytest.raises(PretrainError) as caught:
        trained(RECIPE, folder / "moved", folder / "out", resume=True)
    assert words in str(caught.value)
    assert "give the same again, or delete it" in str(caught.value)
    assert decoded(folder / "out") == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "another recipe (seed = 0, now 1)"),
        ({"targets": ["mfcc39:9"]}, "(targets = ['mfcc39:8'], now ['mfcc39:9'])"),
        ({"speeds": [0.9], "steps": 4}, "(speeds = [1.0], now [0.9], steps = 3, now 4)"),
    ],
)
def test_another_recipe_is_refused_before_anything_is_decoded(folder, changes, words):
    before = decoded(folder / "out")
    with pytest.raises(PretrainError) as caught:
        trained(
            recipe_of("musichubert", **CHANGES | changes),
            folder / "audio",
            folder / "out",
            resume=True,
        )
    assert words in str(caught.value)
    assert decoded(folder / "out") == before


def test_audio_that_was_moved_and_touched_gives_the_same_weights(folder, first):
    shutil.move(folder / "audio", folder / "elsewhere")
    os.utime(folder / "elsewhere" / "01.wav", (1e9, 1e9))
    again = trained(RECIPE, folder / "elsewhere", folder / "out", resume=True)
    assert again.seen.recordings == 4
    for name in FILES:
        assert (folder / "out" / name).read_bytes() == (first / "out" / name).read_bytes()


@pytest.mark.parametrize("how", ["cut off", "empty", "no HDF5", "another code"])
def test_damaged_targets_are_made_again(folder, how):
    (path,) = (folder / "out" / "run").glob("targets-*.h5")
    content = path.read_bytes()
    if how == "another code":
        with h5py.File(path) as file:
            at = file["codes"].id.get_chunk_info(0).byte_offset
        damaged = bytearray(content)
        damaged[at] ^= 1
    else:
        damaged = {"cut off": content[: len(content) // 2], "empty": b"", "no HDF5": b"x" * 100}[
            how
        ]
    path.write_bytes(bytes(damaged))
    said = []
    trained(RECIPE, folder / "audio", folder / "out", resume=True, reporter=Reporter(said.append))
    assert any(line.startswith(f"{path}: damaged (") for line in said)
    assert path.read_bytes() == content


def test_rows_of_the_curve_come_as_often_as_is_asked_now(tmp_path, first):
    """Also where the interrupted run waited longer for its next row."""
    recipe = recipe_of("musichubert", **CHANGES | {"steps": 6})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Training, "_ahead", interrupted_after(4))
        with pytest.raises(KeyboardInterrupt):
            trained(recipe, first / "audio", tmp_path, save_every=4, log_every=50)
    model = trained(recipe, first / "audio", tmp_path, resume=True, log_every=1)
    assert [row["step"] for row in model.curve] == [5, 6]


def interrupted_after(steps):
    """The steps of a training, and Ctrl-C after so many."""
    ahead = Training._ahead

    def some(self, reader):
        for number, each in enumerate(ahead(self, reader)):
            if number == steps:
                raise KeyboardInterrupt
            yield each

    return some


@pytest.mark.skipif(sys.platform == "win32", reason="no umask")
def test_who_may_read_the_model_is_what_the_umask_says(first):
    """safetensors makes files that only their owner can read."""
    plain = stat.S_IMODE((first / "out" / "config.json").stat().st_mode)
    for path in (*(first / "out" / "run").iterdir(), *(first / "out").glob("*.*")):
        assert stat.S_IMODE(path.stat().st_mode) == plain, path


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_a_disk_that_has_no_room_for_the_model_is_one_line(first, tmp_path, size):
    changes = CHANGES | {"size": size}
    if size == "small":
        changes |= {name: 0.0 for name in vars(Recipe()) if name.endswith(("dropout", "layerdrop"))}
    recipe = recipe_of("musichubert", **changes)
    with limited(500_000), pytest.raises(FileError, match="step1: can't be written"):
        trained(recipe, first / "audio", tmp_path, keep_every=1)
    assert [path.name for path in (tmp_path / "step1").iterdir()] == []
