"""Several processes share each step of a training, and leave what one process leaves."""

import os
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner
from processes import START
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from svuprobe import cli

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


def launched(folder, *words):
    """Run `trained` in two processes as ``torchrun --standalone --nproc_per_node 2`` does."""
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
    said = elastic_launch(config, trained)(folder, *words)
    return [said[rank] for rank in range(2)]


def test_two_processes_on_a_cpu_train_what_one_trains(tmp_path, monkeypatch):
    (tmp_path / "audio").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(tmp_path / "audio" / f"{number}.wav", rng.normal(0, 0.1, 8_000), 16_000)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, [*WORDS, "--out", "one"])
    assert done.exit_code == 0, done.output
    text = "".join(launched(tmp_path, "two"))
    # The first process speaks, the other is silent.
    assert text.count("h of audio seen") == 1
    one, two = (load_file(Path(name) / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert np.allclose(value, two[name], atol=1e-5), name
