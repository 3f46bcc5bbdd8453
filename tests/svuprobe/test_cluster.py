"""A suite on a Dask cluster: the same files as without one, and one line where it can't be."""

import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import click.testing
import numpy as np
import pytest
import run_content
import soundfile

from svuprobe import api, cli, suite_boards
from svuprobe._errors import OptionError
from svuprobe.api.extraction import plan
from svuprobe.cluster import addresses, facts, parts, tasks
from svuprobe.cluster.addresses import ClusterError
from svuprobe.cluster.checks import require_alike, require_same
from svuprobe.extractors import loading, shares
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import claim
from svuprobe.suites import run_suite

distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")

MODEL = """
import torch
from torch import nn


class Means(nn.Module):
    sample_rate, hop, receptive_field = 16000, 160, 160
    layer_names, dim = ("one", "two"), 4

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(4.0))

    def forward(self, audio, lengths):
        frames = audio.unfold(1, 160, 160)
        energy = frames.square().mean(2)[..., None].to(self.weight.dtype) * self.weight
        return torch.stack([energy, energy.sqrt()], 1), lengths // 160
"""
SUITE = """
name = "mine"
models = ["py:mine.py:Means"]
controls = ["logmel"]
tasks = ["own.toml"]
protocols = [{ base = "linear", seeds = 1, max_epochs = 2, learning_rates = [0.01] }]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a suite of a model and a task of one's own; the paths in it are relative."""
    rng = np.random.default_rng(0)
    rows = ["path,target,split"]
    for n in range(12):
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * (1 + n % 2) * rng.normal(size=8000), 16000)
        rows.append(f"{n}.wav,{'ab'[n % 2]},{('train', 'valid', 'test')[n // 4]}")
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "own.toml").write_text('name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\n')
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suite_boards, "KINDS", ())  # pictures are of results, whoever made these
    return tmp_path


@contextmanager
def cluster(**options):
    """The address of a scheduler in this process, with workers of one thread."""
    options = {"n_workers": 2, "threads_per_worker": 1} | options
    with distributed.LocalCluster(
        processes=False, dashboard_address="127.0.0.1:0", silence_logs=50, **options
    ) as made:
        yield made.scheduler_address


def run(out, **options):
    said = []
    how = api.RunOptions(jobs=0, reporter=api.Reporter(said.append), **options)
    return run_suite("suite.toml", data=".", out=out, options=how), said


def same_files(one, other):
    """Whether two runs wrote the same bytes, but for what they measured."""
    mine, others = run_content.content(one), run_content.content(other)
    assert mine.keys() == others.keys()
    assert [name for name in mine if mine[name] != others[name]] == []


def test_a_cluster_writes_what_a_run_without_one_writes(project):
    assert run(Path("here"), device="cpu")[0] == []
    with cluster() as address:
        failures, said = run(Path("there"), cluster=address)
    assert failures == []
    same_files(project / "here", project / "there")
    assert sum("12 clips done, 0 already cached" in line for line in said) == 2
    assert sum(line.startswith("logmel on own: accuracy") for line in said) == 1
    # What is there needs no cluster.
    failures, said = run(Path("there"), cluster="tcp://127.0.0.1:9")
    assert failures == []
    assert "2 of them there" in said[0]


def test_a_model_that_fails_on_workers_leaves_the_others_alone(project, monkeypatch):
    def load(model):
        if model.startswith("py:"):
            raise ExtractError(f"{model}: no such file on this worker")
        return loading.load(model)

    monkeypatch.setattr(parts, "load", load)
    monkeypatch.setattr(parts, "_loaded", {})
    with cluster(n_workers=1) as address:
        failures, said = run(Path("out"), cluster=address)
    model = f"py:{project / 'mine.py'}:Means"
    assert failures == [f"{model}: no such file on this worker"]
    assert any(line.startswith("logmel on own: accuracy") for line in said)


def test_a_bug_in_a_part_is_raised_where_the_suite_runs(project, monkeypatch):
    monkeypatch.setattr(parts.api, "probe", lambda *_, **__: 1 / 0)
    with cluster(n_workers=1) as address, pytest.raises(ZeroDivisionError):
        run(Path("out"), cluster=address)


def test_a_worker_of_another_environment_that_comes_later_ends_the_run(project, monkeypatch):
    other = {"host": "node9", "versions": {"python": "3.0"}}
    monkeypatch.setattr(parts, "_known", other)
    with (
        cluster(n_workers=1) as address,
        pytest.raises(ClusterError, match="worker on node9: has python 3.0, and this process has"),
    ):
        run(Path("out"), cluster=address)


# -- shares ----------------------------------------------------------------------------------------


def test_a_share_waits_for_the_shard_that_another_is_at(project, monkeypatch):
    monkeypatch.setattr(shares, "_WAIT_S", 0.05)
    options = api.RunOptions(device="cpu", jobs=0)
    (planned,) = plan(["own.toml"], ["logmel"], data=".", features="f", options=options)
    (share,) = shares.deal(planned, 8)
    (name,) = share.jobs[0][1].values()
    path = share.caches[0].directory / name
    held, go = threading.Event(), threading.Event()

    def hold():
        with claim(path):
            held.set()
            go.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    threading.Timer(0.2, go.set).start()
    started = time.monotonic()
    (report,) = shares.do(share, parts._load, options)
    other.join()
    assert time.monotonic() - started > 0.15
    assert (report.done, report.cached, report.busy) == (12, 0, 0)
    (again,) = shares.do(share, parts._load, options)
    assert (again.done, again.cached) == (0, 12)


def test_jobs_are_dealt_once_each_and_a_share_can_be_one_models(project):
    (project / "suite.toml").unlink()
    options = api.RunOptions(device="cpu", jobs=0)
    (planned,) = plan(["own.toml"], ["logmel", "mfcc"], data=".", features="f", options=options)
    for most in (1, 2, 7):
        dealt = shares.deal(planned, most)
        jobs = [clips for share in dealt for clips, _ in share.jobs]
        assert sorted(jobs) == sorted(job.clips for job in planned.jobs)
        assert len(dealt) <= most
    alone = dealt[0].of_model("mfcc")
    assert alone.models == ["mfcc"]
    assert [cache.directory.parent.name.partition("@")[0] for cache in alone.caches] == ["mfcc"]
    assert all(own.keys() == {0} for _, own in alone.jobs)


# -- what can't be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["local:0", "local:", "local:-1", "local:2000", "here", "", "a b:1"]
)
def test_what_is_no_address_is_one_line(project, address):
    words = ["run", "suite.toml", "--out", "o", "--cluster", address]
    done = click.testing.CliRunner().invoke(cli.main, words)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: cluster {address!r}; it is local:N for 1 to 1,024")
    assert not (project / "o").exists()


def test_devices_of_workers_are_cpu_or_their_own_gpu():
    assert api.RunOptions(cluster="local:1").device is None
    assert api.RunOptions(cluster="local:1", device="cuda").device == "cuda"
    with pytest.raises(OptionError, match="device 'cuda:1' on a cluster; it is cpu or cuda"):
        api.RunOptions(cluster="local:1", device="cuda:1")


def test_nobody_answers(project, monkeypatch):
    monkeypatch.setattr(addresses, "_ANSWER_S", 0.3)
    words = ["run", "suite.toml", "--out", "o", "--cluster", "tcp://127.0.0.1:9"]
    done = click.testing.CliRunner().invoke(cli.main, words)
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert line.startswith("Error: tcp://127.0.0.1:9: no Dask scheduler answers there (")
    assert "start one with dask scheduler" in line


def test_without_dask_the_line_says_what_to_install(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'distributed>=2024'"):
        run(Path("o"), cluster="local:1")


def test_workers_start_here_whatever_else_runs_on_this_machine(recwarn):
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8787))  # another scheduler's pages
            taken.listen()
        except OSError:
            pass  # somebody has it already
        with addresses.connected("local:1") as client:
            pid = client.submit(os.getpid).result(timeout=60)
    assert pid != os.getpid()
    assert not recwarn.list
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_scheduler_without_workers(project, monkeypatch):
    monkeypatch.setattr(addresses, "_WORKERS_S", 0.3)
    with (
        cluster(n_workers=0) as address,
        pytest.raises(ClusterError, match=r"no worker for 0\.3 s; start some with dask worker"),
    ):
        run(Path("o"), cluster=address)


def test_workers_without_the_label_get_nothing_of_a_gpu(project):
    with (
        cluster(n_workers=1) as address,
        pytest.raises(ClusterError, match='no worker has the label gpu; .*--resources "gpu=1"'),
    ):
        run(Path("o"), cluster=address, device="cuda")


@pytest.mark.skipif("cuda" in facts.facts({})["dtype"], reason="there is a GPU here")
def test_a_label_without_a_gpu_is_refused(project):
    with (
        cluster(n_workers=1, resources={"gpu": 1}) as address,
        pytest.raises(ClusterError, match="has the label gpu and torch finds no GPU there"),
    ):
        run(Path("o"), cluster=address)


def test_a_part_of_a_gpu_asks_for_the_label_and_memory_for_what_there_is():
    class Client:
        def run_on_scheduler(self, function):
            return {"a": {"gpu": 1.0}, "b": {"memory": 8e9}, "c": {"gpu": 1.0, "memory": 4e9}}

    on_gpu = tasks.Cluster(Client(), "tcp://x:1", api.RunOptions(cluster="tcp://x:1"))
    assert on_gpu.device == "cuda"
    assert on_gpu._computes(3e9) == {"gpu": 1.0, "memory": 3e9}
    assert on_gpu._computes(1e12) == {"gpu": 1.0, "memory": 4e9}
    assert on_gpu.shares == 8
    on_cpu = tasks.Cluster(Client(), "tcp://x:1", api.RunOptions(cluster="tcp://x:1", device="cpu"))
    assert on_cpu._computes(1e12) == {"memory": 8e9}


def test_workers_must_be_alike_and_see_the_folders(tmp_path):
    here = facts.facts({})
    assert here["unseen"] == []
    require_same(here, here["versions"])
    other = here | {"versions": here["versions"] | {"torch": "1.0"}, "host": "node7"}
    with pytest.raises(ClusterError, match="worker on node7: has torch 1.0, and this process has"):
        require_same(other, here["versions"])
    absent = here | {"versions": dict.fromkeys(here["versions"], "")}
    with pytest.raises(ClusterError, match="has python not at all"):
        require_same(absent, here["versions"])
    require_alike({"a": here, "b": here}, "cpu")
    with pytest.raises(ClusterError, match="does not see /x/out as it is here"):
        require_alike({"a": here | {"unseen": ["/x/out"]}}, "cpu")
    rounding = here | {"dtype": {"cpu": "float16"}}
    with pytest.raises(ClusterError, match="workers multiply different numbers fast"):
        require_alike({"a": here, "b": rounding}, "cpu")


def test_a_worker_says_which_files_it_does_not_see(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_PATIENCE_S", 0.0)
    (tmp_path / "a").write_text("one")
    files = {str(tmp_path): "", str(tmp_path / "a"): "one"}
    assert facts.facts(files)["unseen"] == []
    files = {str(tmp_path / "b"): "", str(tmp_path / "a"): "two", str(tmp_path / "c"): "x"}
    assert facts.facts(files)["unseen"] == list(files)
