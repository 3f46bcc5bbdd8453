"""Several processes share each step of a training, and leave what one process leaves."""

import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from processes import START
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from svuprobe import cli
from svuprobe._distributed import Distributed

WORDS = ("pretrain", "small", "--audio", "audio", "--targets", "mfcc39:5")
WORDS += ("--cluster-inits", "1", "--crop-s", "0.5", "--batch-s", "4", "--steps", "3")
WORDS += ("--mask-span", "4", "--part-seconds", "1", "--jobs", "0")


def trained(folder, out):
    """What the command says in one process of those that torch.distributed.run starts."""
    os.chdir(folder)
    os.environ.update(ACCELERATE_USE_CPU="1", OMP_NUM_THREADS="1")
    done = CliRunner().invoke(cli.main, [*WORDS, "--out", out])
    assert done.exit_code == 0, done.output
    return done.output


def waited(seconds, dies):
    """Whether two processes meet, of which the first is busy for longer than torch waits, or dies
    meanwhile.
    """
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=0.5))
    os.environ.update(ACCELERATE_USE_CPU="1")
    processes = Distributed()
    processes.wait()
    if processes.first:
        time.sleep(seconds)
        if dies:
            os._exit(9)
    processes.wait()
    return processes.rank


def launched(function, *words):
    """Run a function in two processes as ``torchrun --standalone --nproc_per_node 2`` does."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="two",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method=START,
    )
    said = elastic_launch(config, function)(*words)
    return [said[rank] for rank in range(2)]


def test_two_processes_on_a_cpu_train_what_one_trains(tmp_path, monkeypatch):
    (tmp_path / "audio").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(tmp_path / "audio" / f"{number}.wav", rng.normal(0, 0.1, 8_000), 16_000)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, [*WORDS, "--out", "one"])
    assert done.exit_code == 0, done.output
    text = "".join(launched(trained, tmp_path, "two"))
    # The first process speaks, the other is silent.
    assert text.count("h of audio seen") == 1
    one, two = (load_file(Path(name) / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert np.allclose(value, two[name], atol=1e-5), name


def test_the_others_wait_while_the_first_process_decodes_for_hours():
    assert launched(waited, 2.0, False) == [0, 1]


def test_nobody_waits_for_a_process_that_died():
    started = time.monotonic()
    with pytest.raises(ChildFailedError):
        launched(waited, 0.2, True)
    assert time.monotonic() - started < 60
