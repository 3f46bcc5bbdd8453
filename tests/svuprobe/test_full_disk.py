"""No room: every command that writes ends in one line, leaves nothing half-written, and then ends
well.
"""

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("no limits of a file's size to try it with", allow_module_level=True)

import full_disks
import torch

from svuprobe._errors import FileError
from svuprobe._tensors import save_tensors
from svuprobe.tasks.datasets import DATASETS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    full_disks.write_project(folder, ["own"])
    return folder


# Synthesis, training from audio and a whole suite take too long here: the script tries them too.
@pytest.mark.parametrize(
    "name", ["data prepare", "extract", "probe", "predict", "leaderboard", "plot", "cache verify"]
)
def test_without_room_a_command_is_one_line_and_with_room_it_ends_well(
    project, tmp_path, name, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    out = tmp_path / "out"
    out.mkdir()
    words = full_disks.commands(project, out)[name]
    full_disks.put_cache(name, project, out)
    with full_disks.served(project) as card:
        monkeypatch.setitem(DATASETS, "vocalset", card)
        for size in (0, 600):
            with full_disks.limited(size):
                done = full_disks.call(words)
            assert done.exit_code == 1, done.output
            assert not full_disks.wrong(done, out)
        done = full_disks.call(words)
        assert full_disks.ended_well(done), done.output


@pytest.mark.parametrize("bound", [0, 600, 30_000])
def test_tensors_without_room_are_the_systems_word(tmp_path, bound):
    path = tmp_path / "network.safetensors"
    with full_disks.limited(bound), pytest.raises(FileError, match="File too large"):
        save_tensors(path, {"weight": torch.zeros(10_000)}, {})
    assert not list(tmp_path.iterdir())
