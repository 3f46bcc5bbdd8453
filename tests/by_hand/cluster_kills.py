"""Kill workers and the scheduler of a cluster while a suite runs on it, and see that nothing is
lost and nothing is done twice.

``python tests/by_hand/cluster_kills.py`` runs a suite of two models and two tasks on noise

1. without a cluster;
2. on four Dask workers, processes of their own: one is killed with SIGKILL while it writes a shard,
   one while it trains heads;
3. on four more, whose scheduler is killed with SIGKILL in mid-extraction; the command must end with
   one line and exit code 1, and a second one, on another scheduler, must go on from the files;
4. on ``local:2``, whose command is killed with SIGKILL: no worker may live on.

The results of all must be those of the first, byte for byte but for times and dates. Every shard
and every result may be begun once, and once more where its worker was killed: locks and temporary
files are looked at all the while, and name the process. It ends with exit code 1 where any of this
does not hold. It needs Linux, for /proc/locks.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import soundfile
from run_content import content

CLIPS, WORKERS = 32, 4
SUITE = """
name = "noise"
models = ["py:slow.py:Slow"]
controls = ["mfcc"]
tasks = ["beats.toml", "two.toml"]
protocols = [{ base = "linear", seeds = 2, max_epochs = 30, patience = 30 }]
"""
# It takes its time, so that there is a middle to kill.
MODEL = """
import time

import torch
from torch import nn


class Slow(nn.Module):
    sample_rate, hop, receptive_field = 16000, 320, 320
    layer_names, dim = ("one", "two"), 16

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(16.0))

    def forward(self, audio, lengths):
        time.sleep(0.2)
        frames = audio.unfold(1, 320, 320)
        energy = frames.square().mean(2)[..., None].to(self.weight.dtype) * self.weight
        return torch.stack([energy, energy.sqrt()], 1), lengths // 320
"""
# Who began what: a shard or a result, and the process.
Begun = set[tuple[str, int]]


def write_project(folder: Path) -> None:
    """Noise of 2 to 6 s, once as a task on beats and once as one of two classes."""
    rng = np.random.default_rng(0)
    rows = {"beats": ["path,target,split"], "two": ["path,target,split"]}
    for n in range(CLIPS):
        samples = 0.1 * (1 + n % 2) * rng.normal(size=int(16000 * rng.uniform(2, 6)))
        soundfile.write(folder / f"{n}.wav", samples, 16000)
        (folder / f"{n}.beats").write_text("0.5\n1.0\n1.5\n", encoding="utf-8")
        split = ("train", "train", "valid", "test")[n // 2 % 4]
        rows["beats"].append(f"{n}.wav,{n}.beats,{split}")
        rows["two"].append(f"{n}.wav,{'ab'[n % 2]},{split}")
    for (name, lines), kind in zip(rows.items(), ("beats", "multiclass"), strict=True):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        text = f'name = "{name}"\nkind = "{kind}"\nmetadata = "{name}.csv"\n'
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    (folder / "slow.py").write_text(MODEL, encoding="utf-8")
    (folder / "suite.toml").write_text(SUITE, encoding="utf-8")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a process of Python in the project's folder."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def suite(folder: Path, out: str, *words: str) -> subprocess.Popen[str]:
    """Start ``svuprobe run`` of the suite."""
    return start(folder, "svuprobe", "run", "suite.toml", "--data", ".", "--out", out, *words)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str], list[int]]]:
    """A scheduler and its workers, each a process: the address, the scheduler, the workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    words = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    scheduler = start(folder, "distributed.cli.dask_scheduler", *words)
    time.sleep(5)
    words = (address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "20")
    workers = [start(folder, "distributed.cli.dask_worker", *words) for _ in range(WORKERS)]
    for process in (scheduler, *workers):  # pipes that nobody reads fill
        threading.Thread(target=process.communicate, daemon=True).start()
    try:
        yield address, scheduler, [worker.pid for worker in workers]
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


class Watch:
    """Look at locks and temporary files below a folder until told to stop: who began what."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shards, self.results = folder, set[tuple[str, int]](), Begun()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> tuple[Begun, Begun]:
        """Return the shards in hand, and the results, with the processes."""
        shards, results = Begun(), Begun()
        for path in self.folder.glob("features/*/*/shard-*.h5.tmp-*"):
            name, _, writer = path.relative_to(self.folder).as_posix().partition(".tmp-")
            if writer.rpartition("-")[2].isdigit():  # and not the checksum of one
                shards.add((name, int(writer.rpartition("-")[2])))
        holders = {}
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            if match := re.search(r"FLOCK\s+\S+\s+WRITE\s+(\d+)\s+\S+:(\d+) ", line):
                holders[int(match[2])] = int(match[1])
        for path in self.folder.glob("results/*/*/*.json.lock"):
            try:
                inode = path.stat().st_ino
            except FileNotFoundError:
                continue
            if inode in holders:
                results.add((path.relative_to(self.folder).as_posix(), holders[inode]))
        return shards, results

    def _look(self) -> None:
        while not self._over.wait(0.02):
            shards, results = self.now()
            self.shards |= shards
            self.results |= results

    def twice(self) -> list[str]:
        """Return what was begun by more than one process, a line each."""
        counts = Counter(name for name, _ in (*self.shards, *self.results))
        return [f"{name} by {n}" for name, n in counts.items() if n > 1]


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> object:
    """Return what there is as soon as there is something, while a process runs."""
    while process.poll() is None:
        if found := what():
            return found
        time.sleep(0.02)
    told, _ = process.communicate()
    raise click.ClickException(f"it ended before it could be killed: {told}")


def require(holds: object, otherwise: str) -> None:
    """End with one line where something does not hold."""
    if not holds:
        raise click.ClickException(otherwise)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a run, which must end so; return what it said."""
    told, _ = process.communicate()
    require(process.returncode == code, f"exit code {process.returncode}: {told}")
    return told


def require_same(folder: Path, out: str) -> int:
    """Compare a run's files with those of the undisturbed run; return how many there are."""
    mine, theirs = content(folder / out), content(folder / "here")
    require(mine.keys() == theirs.keys(), f"other files: {sorted(mine.keys() ^ theirs.keys())}")
    other = [name for name in mine if mine[name] != theirs[name]]
    require(not other, f"other content: {other}")
    return len(mine)


def kill_two_workers(folder: Path) -> None:
    """Kill one worker at a shard and one at a result."""
    with cluster(folder) as (address, _, pids), Watch(folder / "two") as watch:
        run = suite(folder, "two", "--cluster", address)

        def victim(number: int) -> tuple[str, int] | None:
            return next((each for each in watch.now()[number] if each[1] in pids), None)

        killed = []
        for number, what in ((0, "writing"), (1, "training")):
            name, pid = wait_for(lambda number=number: victim(number), run)  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            pids.remove(pid)
            killed.append(name)
            click.echo(f"  killed worker {pid}, {what} {name}")
        told = finish(run)
    click.echo("".join(f"  | {line}\n" for line in told.splitlines() if "worker" in line), nl=False)
    twice = watch.twice()
    click.echo(
        f"  {len(watch.shards)} shards and {len(watch.results)} results were seen begun; by more "
        f"than one process: {', '.join(twice) or 'none'}"
    )
    # A killed worker has claimed nothing but what it had in hand.
    strange = [line for line in twice if line.partition(" by ")[0] not in killed]
    require(not strange, f"begun twice, and nobody was killed at it: {strange}")
    click.echo(f"  {require_same(folder, 'two')} files as without a cluster")


def kill_scheduler(folder: Path) -> None:
    """Kill the scheduler, and go on with another."""
    out = folder / "three"
    with cluster(folder) as (address, scheduler, _), Watch(out) as watch:
        run = suite(folder, "three", "--cluster", address)
        wait_for(lambda: len(list(out.glob("features/*/*/shard-*.h5"))) > 3, run)
        scheduler.kill()
        told = finish(run, 1)
        click.echo(f"  {told.splitlines()[-1]}")
        time.sleep(3)  # workers may still end what they have in hand
    before = {path: path.stat().st_ino for path in out.glob("features/*/*/shard-*.h5")}
    with cluster(folder) as (address, _, _), Watch(out) as again:
        finish(suite(folder, "three", "--cluster", address))
    same = all(path.stat().st_ino == inode for path, inode in before.items())
    require(same, "a finished shard was written again")
    done = {name for name, _ in watch.shards} & {name for name, _ in again.shards}
    click.echo(
        f"  {len(before)} shards were there and stayed; {len(again.shards)} were begun by the "
        f"second run, {len(done)} of them again; {require_same(folder, 'three')} files as without "
        "a cluster"
    )


def kill_command(folder: Path) -> None:
    """Kill the command of ``local:2``: its workers must end."""
    run = suite(folder, "four", "--cluster", "local:2")
    wait_for(lambda: list((folder / "four").glob("features/*/*/shard-*.h5")), run)
    ours = children_of(run.pid)
    run.kill()
    run.communicate()
    time.sleep(5)
    left = [pid for pid in ours if Path(f"/proc/{pid}").exists()]
    require(not left, f"processes {left} live on")
    click.echo(f"  {len(ours)} processes of the killed command are gone")
    finish(suite(folder, "four", "--cluster", "local:2"))
    click.echo(f"  {require_same(folder, 'four')} files as without a cluster")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started, and those that these did."""
    found = []
    for text in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, text.read_text(encoding="utf-8").split()):
            found += [child, *children_of(child)]
    return found


ATTACKS = {
    "workers": ("four workers, two killed", kill_two_workers),
    "scheduler": ("the scheduler killed", kill_scheduler),
    "command": ("the command of local:2 killed", kill_command),
}


@click.command()
@click.option("--only", type=click.Choice(list(ATTACKS)), multiple=True, help="Repeatable.")
def main(only: tuple[str, ...]) -> None:
    """Kill workers, a scheduler and a command; compare with a run that nobody disturbs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder)
        click.echo("without a cluster")
        finish(suite(folder, "here", "--device", "cpu"))
        for key, (what, attack) in ATTACKS.items():
            if not only or key in only:
                click.echo(what)
                attack(folder)


if __name__ == "__main__":
    main()
