"""Several processes share each step of a training, and leave what one process leaves."""

import os
import subprocess
import sys

import numpy as np
import soundfile
from click.testing import CliRunner
from safetensors.torch import load_file

from svuprobe import cli

WORDS = ("-m", "svuprobe", "pretrain", "small", "--audio", "audio", "--targets", "mfcc39:5")
WORDS += (
    "--cluster-inits",
    "1",
    "--crop-s",
    "0.5",
    "--batch-s",
    "4",
    "--steps",
    "3",
    "--jobs",
    "0",
)
WORDS += ("--mask-span", "4", "--part-seconds", "1", "--jobs", "0")


def run(folder, *words):
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_two_processes_on_a_cpu_train_what_one_trains(tmp_path, monkeypatch):
    (tmp_path / "audio").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(tmp_path / "audio" / f"{number}.wav", rng.normal(0, 0.1, 8_000), 16_000)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, [*WORDS[2:], "--out", "one"])
    assert done.exit_code == 0, done.output
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    text = run(tmp_path, *launch, *WORDS, "--out", "two")
    # The first process speaks, the other is silent.
    assert text.count("h of audio seen") == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert np.allclose(value, two[name], atol=1e-5), name
