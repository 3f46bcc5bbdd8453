"""No room: every command that writes ends in one line, leaves nothing half-written, and then ends
well.
"""

import ast
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("no limits of a file's size to try it with", allow_module_level=True)

import click
import full_disks
import torch
from measure_house import modules

from svuprobe import cli
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
    "name",
    [
        *("data prepare", "extract", "probe", "predict", "leaderboard", "plot", "cache verify"),
        *("embed", "embed npz", "export csv", "plot map"),
    ],
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


def test_every_command_is_tried_or_known_to_write_nothing(tmp_path):
    def leaves(group, words=()):
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from leaves(command, (*words, name))
            else:
                yield " ".join((*words, name))

    names = set(leaves(cli.main))
    tried = set()
    for words in full_disks.commands(tmp_path, tmp_path).values():
        tried |= {name for name in names if words.startswith(f"{name} ")}
    assert tried.isdisjoint(full_disks.NOT_TRIED)
    assert tried | full_disks.NOT_TRIED == names


def test_hdf5_never_sees_a_write_fail():
    # It can't close the file then, and ends the process with a segmentation fault.
    for path in modules(Path(__file__).parents[2]).values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "h5py.File"):
                continue
            if len(node.args) > 1 and ast.unparse(node.args[1]) != "'r'":
                assert ast.unparse(node.args[0]) in ("sink", "self._sink", "content"), path
