"""Killed before any renaming or deleting, the same command again leaves what an undisturbed one
does.

These need no model and run in this process; ``tests/by_hand/kill_writing.py`` kills all commands,
and really.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys

import pytest
from test_cache import flip, made
from test_prepare import cards, server, zipped  # noqa: F401  (a fixture)

from svuprobe import api
from svuprobe._files import abandoned, leftovers, temporary_folder
from svuprobe._progress import Reporter
from svuprobe.cluster.tasks import _marked
from svuprobe.extractors.cache import verify
from svuprobe.extractors.store.address import local_copy
from svuprobe.tasks.data.download import ResumingDownloader
from svuprobe.tasks.data.prepare import prepare
from svuprobe.tasks.datasets import Archive
from svuprobe.tasks.synth.corpus import begin, finish, write_text


class Killed(BaseException):
    """Nothing in the package catches it."""


@contextlib.contextmanager
def killed_before(number):
    """Stop before one renaming or deleting, counted from 0; there is none after it, as after a
    kill.
    """
    events = itertools.count()

    def guarded(real):
        def call(*arguments, **options):
            if next(events) >= number:
                raise Killed
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink", "remove", "rmdir"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        yield


def tree(folder):
    return {
        path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")
    }


def survives(command, folder, start=lambda folder: folder.mkdir()):
    """Kill a command everywhere and run it again; in how many places."""
    start(folder)
    command(folder)
    undisturbed = tree(folder)
    for number in itertools.count():
        shutil.rmtree(folder)
        start(folder)
        try:
            with killed_before(number):
                command(folder)
            return number
        except Killed:
            command(folder)
        assert tree(folder) == undisturbed, f"killed before event {number}"


def test_a_corpus_is_synthesised(tmp_path):
    header = {"dataset": "toy", "seed": 0}

    def synth(folder):
        if begin(folder / "toy", header):
            write_text(folder / "toy/a/1.txt", "one")
            finish(folder / "toy", header, {"a/1.txt": 1.0})

    assert survives(synth, tmp_path / "data") >= 3


def test_a_dataset_is_prepared(server, tmp_path):  # noqa: F811
    whole = zipped({"a/1.wav": b"one", "b/2.wav": b"two", "c.txt": b"three"})
    parts = {"p.zip.1": whole[:100], "p.zip.2": whole[100:]}
    server.files = {"a.zip": zipped({"d/1.wav": b"one", "e/2.wav": b"two"}), **parts}
    toy = cards(
        Archive("a.zip", (f"{server.url}/a.zip",)),
        Archive("p.zip", tuple(f"{server.url}/{name}" for name in parts)),
    )
    assert (
        survives(lambda folder: prepare("toy", folder / "toy", cards=toy), tmp_path / "data") > 20
    )


def test_a_download_goes_on_after_another_version_was_published(server, tmp_path):  # noqa: F811
    server.files["big"] = b"new" * 100_000

    def start(folder):
        folder.mkdir()
        (folder / "big.part").write_bytes(b"old" * 1000)
        (folder / "big.part.tag").write_text('"of another version"')

    def bring(folder):
        if not (folder / "big").exists():
            ResumingDownloader(folder / "big.part")(f"{server.url}/big", str(folder / "big"))
        (folder / "big.part.tag").unlink(missing_ok=True)

    assert survives(bring, tmp_path / "data", start) > 3


@pytest.mark.parametrize("name", ["shard-00001.h5", "features.h5", "plan-00000.json"])
def test_damage_is_removed(tmp_path, name):
    flip(made(tmp_path / "made") / name, 100)

    def start(folder):
        shutil.copytree(tmp_path / "made", folder)

    assert survives(lambda folder: verify(folder, delete=True), tmp_path / "features", start) >= 2


def test_the_features_of_a_model_are_deleted(tmp_path):
    made(tmp_path / "made")

    def start(folder):
        shutil.copytree(tmp_path / "made", folder / "features")

    def delete(folder):
        if any(folder.glob("features/*")):
            api.cache_prune(folder / "features", model="hf:made/up")

    assert survives(delete, tmp_path / "here", start) > 8


KILLED_INSIDE = """
import os, pathlib, signal, sys
from svuprobe._files import temporary_folder
with temporary_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "model").mkdir()
    (folder / "model" / "half").write_bytes(b"12345")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left_by_a_kill(path):
    """The temporary folder of a path, with five bytes in it, of a process that was killed."""
    done = subprocess.run([sys.executable, "-c", KILLED_INSIDE, path], check=False)
    assert done.returncode == -signal.SIGKILL
    return next(left for left in leftovers(path) if left.is_dir() and abandoned(left))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_temporary_folder_goes_with_the_next_one_and_no_live_one_does(tmp_path):
    path = tmp_path / "new" / "verify"
    dead = left_by_a_kill(path)
    with temporary_folder(path) as first:
        assert not dead.exists()
        with temporary_folder(path) as second:
            assert first != second
            assert first.is_dir()
        assert leftovers(path) == [first]
    assert leftovers(path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_copies_that_a_killed_verify_left_are_pruned(tmp_path, monkeypatch):
    monkeypatch.setenv("SVUPROBE_STORE_CACHE", str(tmp_path))
    address = f"memory://{tmp_path.name}/features"
    copy = local_copy(address)
    with temporary_folder(copy / "verify") as live:  # begun by another process that lives
        dead = left_by_a_kill(copy / "verify")
        said = []
        for dry_run in (True, False):
            assert dead.exists()
            options = {"dry_run": dry_run, "reporter": Reporter(said.append)}
            assert api.cache_prune(address, **options) == 5
        assert said == [f"{dead}: 5 B"] * 2
        assert (dead.exists(), live.exists()) == (False, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_files_that_workers_must_see_are_cleared_after_a_kill(tmp_path):
    killed = """
import os, pathlib, signal, sys
from svuprobe.cluster.tasks import _marked
with _marked([pathlib.Path(sys.argv[1])]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed, tmp_path], check=False)
    (left,) = tmp_path.iterdir()
    with _marked([tmp_path]) as files:
        (name,) = tmp_path.iterdir()
        assert files == {str(name): name.read_text()}
        assert name != left
    assert list(tmp_path.iterdir()) == []
