"""Run every command that writes on disks that are too small, and see that it ends in one line and
then ends well.

``python tests/by_hand/full_disks.py`` (as root on Linux, for it mounts its own disks in a namespace
of its own) gives each command a disk of some kB for what it writes, many sizes from none to enough,
and then limits of a file's size. Where it does not fit

- it ends with exit code 1 and one line that begins with "Error: ", with no traceback;
- nothing half-written is left: no temporary file, no lock;
- with room enough the same command ends well.

``cache verify --remove`` and ``cache prune`` get a damaged cache and litter on a disk that has so
much room beside them. Exit code 1 where any of this does not hold. ``demo`` is left out for its
time; ``run`` is the same code. ``check-model`` writes nothing: it must end well on every disk.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
from click.testing import CliRunner, Result

from svuprobe import cli
from svuprobe.tasks.datasets import DATASETS, Archive, Dataset

SIZES_KB = (0, 8, 32, 100, 200, 300)
LIMITS = (0, 100, 4000, 64_000)
ENOUGH = "64m"
TASKS = {"own": "multiclass", "sung": "notes", "tapped": "beats"}
NOT_TRIED = {
    *("cache list", "compare", "data check", "models", "protocols", "tasks"),  # they write nothing
    "demo",
    # Their pictures are written as those of scores are.
    *("plot layer-weights", "plot layer-curves", "plot data-efficiency"),
}
PRETRAIN = (
    "pretrain small --size tiny --steps 3 --save-every 2 --crop-s 1 --least-s 0.5 "
    "--batch-s 4 --targets mfcc39:4 --jobs 0 --device cpu"
)
PROBE = "--protocol linear --seeds 2 --max-epochs 2 --learning-rate 0.01"


def write_project(folder: Path, names: Sequence[str]) -> None:
    """Twelve clips of a second, features and a result of each of the named tasks, and an archive to
    download.
    """
    rows = ["path,target,split"]
    for n in range(12):
        wave = 0.1 * np.sin((400 + 200 * (n % 2)) * np.arange(16000) / 16000 * 2 * np.pi + n)
        soundfile.write(folder / f"{n}.wav", wave, 16000)
        rows.append(f"{n}.wav,{'ab'[n % 2]},{('train', 'valid', 'test')[n // 2 % 3]}")
    (folder / "notes").write_text("0.1,0.6,69\n", encoding="utf-8")
    (folder / "beats").write_text("0.2\n0.7\n", encoding="utf-8")
    write_tasks(folder, rows[:7])
    extract_own = (
        f"extract --model logmel --task {folder}/own.toml --features {folder}/fown --jobs 0 "
        "--device cpu"
    )
    assert call(extract_own).exit_code == 0  # so that there are two shards
    write_tasks(folder, rows)
    (folder / "mine.toml").write_text(
        f'name = "mine"\nmodels = ["logmel"]\ntasks = ["{folder}/own.toml"]\n'
        'protocols = [{base = "linear", seeds = 2, max_epochs = 2, learning_rates = [0.01]}]\n',
        encoding="utf-8",
    )
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("FULL/noise.wav", np.random.default_rng(0).bytes(100_000))
    for name in names:
        task = f"--task {folder}/{name}.toml --features {folder}/f{name}"
        for words in (
            f"extract --model logmel {task} --jobs 0 --device cpu",
            f"probe {task} --results {folder}/r {PROBE} --device cpu",
        ):
            done = call(words)
            assert done.exit_code == 0, done.output


def write_tasks(folder: Path, rows: list[str]) -> None:
    """A task of each kind that is predicted into other files, of the lines of a CSV file."""
    for name, kind in TASKS.items():
        targets = "\n".join(rows) + "\n"
        if kind in ("notes", "beats"):
            targets = targets.replace(",a,", f",{kind},").replace(",b,", f",{kind},")
        (folder / f"{name}.csv").write_text(targets, encoding="utf-8")
        keys = f'name = "{name}"\nkind = "{kind}"\nmetadata = "{name}.csv"\n'
        (folder / f"{name}.toml").write_text(keys, encoding="utf-8")


def commands(project: Path, out: Path) -> dict[str, str]:
    """Every command that writes, all it writes below ``out``."""
    task = f"--task {project}/own.toml"

    def predict(name: str) -> str:
        result = next((project / "r").rglob(f"*/{name}/*.json"), project / "none.json")
        return f"predict --run {result} --audio {project}/0.wav --out {out}/p --plot --device cpu"

    return {
        "data synth": f"data synth --task pitch --clips 3 --out {out}/d",
        "data prepare": f"data prepare --task technique --data {out}/d",
        "extract": f"extract --model logmel {task} --features {out}/f --jobs 0 --device cpu",
        "probe": f"probe {task} --features {project}/fown --results {out}/r {PROBE} --device cpu",
        "finetune": (
            f"finetune {task} --model random:wav2vec2-tiny --results {out}/r --frozen-epochs 1 "
            "--epochs 1 --seeds 1 --jobs 0 --device cpu"
        ),
        "predict": predict("own"),
        "predict notes": predict("sung"),
        "predict beats": predict("tapped"),
        "leaderboard": f"leaderboard --results {project}/r --out {out}/l/leaderboard.md",
        "plot": f"plot scores --results {project}/r --out {out}/p",
        "plot map": f"plot map {task} --split all --features {project}/fown --out {out}/m.pdf",
        "report": f"report --results {project}/r --features {project}/fown --out {out}/report",
        "export": f"export --results {project}/r --format mteb --out {out}/mteb",
        "export csv": f"export --results {project}/r --format csv --out {out}/scores.csv",
        "embed": (
            f"embed {project}/0.wav --model logmel --level frame --out {out}/e.h5 --device cpu"
        ),
        "embed npz": f"embed {project}/0.wav --model logmel --out {out}/e.npz --device cpu",
        "pretrain": f"{PRETRAIN} --audio {project} --out {out}/m",
        "run": f"run {project}/mine.toml --out {out}/o --device cpu",
        "cache verify": f"cache verify {out}/f --remove",
        "cache prune": f"cache prune {out}/f",
        "check-model": "check-model logmel --device cpu",
    }


def put_cache(name: str, project: Path, out: Path) -> None:
    """Where a command is for a cache: a damaged one with litter."""
    if not name.startswith("cache"):
        return
    shutil.copytree(project / "fown", out / "f")
    shard = next((out / "f").rglob("shard-00000.h5"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    left = shard.with_name(f"{shard.name}.tmp-otherhost-1")
    left.write_bytes(bytes(5000))
    os.utime(left, (0, 0))


def again(words: str) -> str:
    """The same command, as its own line says to type it again."""
    return f"{words} --resume" if words.startswith("finetune") else words


def call(words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli.main, words.split())


def ended_well(done: Result) -> bool:
    """Whether a command did what it should; that there was damage is an answer."""
    return done.exit_code == 0 or "damaged; deleted" in done.output


@contextlib.contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Dataset]:
    """A dataset of one archive that a thread of this process sends."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def copyfile(self, source: Any, outputfile: Any) -> None:
            with contextlib.suppress(ConnectionError):  # who asked has no room
                super().copyfile(source, outputfile)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/a.zip"
        archives = (Archive("a.zip", (url,)),)
        try:
            yield Dataset(
                "vocalset", "A toy", "none", "https://example.org", 0.1, archives=archives
            )
        finally:
            server.shutdown()
            thread.join()


def wrong(done: Result, out: Path) -> str:
    """What is not as it should be where a command had too little room; empty where all is."""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"a traceback: {done.exception!r}"
    if ended_well(done):
        return ""
    errors = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    if done.exit_code != 1 or len(errors) != 1:
        return f"exit code {done.exit_code}, {done.output!r}"
    left = [path.name for path in out.rglob("*") if ".tmp-" in path.name or path.suffix == ".lock"]
    return f"{', '.join(left)} left behind" if left else ""


def attack(name: str, words: str, project: Path, out: Path) -> list[str]:
    """Try a command on every disk and with every limit; what was wrong."""
    found, short = [], 0
    for kb in SIZES_KB:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ENOUGH}", "tmpfs", out], check=True)
        try:
            put_cache(name, project, out)
            used = shutil.disk_usage(out).used >> 10
            subprocess.run(["mount", "-o", f"remount,size={used + max(kb, 4)}k", out], check=True)
            if kb == 0:
                with contextlib.suppress(OSError), open(out / "full", "wb") as file:
                    file.write(bytes(8192))
            done = call(words)
            short += not ended_well(done)
            said = wrong(done, out)
            subprocess.run(["mount", "-o", f"remount,size={ENOUGH}", out], check=True)
            if not said and not ended_well(last := call(again(words))):
                said = f"with room: {last.output[-300:]!r} {last.exception!r}"
            found += [f"{name} on {kb} kB: {said}"] if said else []
        finally:
            subprocess.run(["umount", "-l", out], check=True)
    for size in LIMITS:
        put_cache(name, project, out)
        with limited(size):
            done = call(words)
        short += not ended_well(done)
        said = wrong(done, out)
        if not said and not ended_well(last := call(again(words))):
            said = f"without the limit: {last.output[-300:]!r} {last.exception!r}"
        found += [f"{name}, files of {size} bytes: {said}"] if said else []
        shutil.rmtree(out)
        out.mkdir()
    click.echo(f"{name}: {short} of {len(SIZES_KB) + len(LIMITS)} too small, {len(found)} wrong")
    return found


@click.command()
@click.option("--only", multiple=True, help="A command; repeatable.")
def main(only: tuple[str, ...]) -> None:
    """Run every command that writes on disks that are too small; exit code 1 where one ends
    badly.
    """
    if os.environ.get("FULL_DISKS") != "inside":
        inside = os.environ | {"FULL_DISKS": "inside", "NO_PROXY": "127.0.0.1"}
        sys.exit(
            subprocess.run(["unshare", "-m", sys.executable, *sys.argv], env=inside).returncode
        )
    found = []
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as card:
        project, out = Path(name), Path(name) / "out"
        out.mkdir()
        write_project(project, list(TASKS))
        DATASETS["vocalset"] = card
        for command, words in commands(project, out).items():
            if not only or command in only:
                found += attack(command, words, project, out)
    for line in found:
        click.echo(line)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
