"""Kill every command that writes at every file-system event; nothing is ever mixed, lost or left.

``python tests/by_hand/kill_writing.py`` runs each command once undisturbed and counts what it asks
of the file system below its folder: opening a file to write, renaming, deleting, making a folder.
Then it runs it again from the same start, once for each of these events, and kills it (SIGKILL)
just before the event. What an older version of the same task gave lies where the new will be, where
there is such a thing. After each kill

- every result that can be read has beside it just the predictions and heads that were written with
  it;
- the same command again ends well (``finetune`` with ``--resume``);
- then all files are those of the undisturbed run, but for times and dates, and nothing else is
  left.

Each run is a fork of one process that has loaded everything, so a run takes as long as its work. It
ends with exit code 1 where any of this does not hold.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import full_disks
import numpy as np
import run_content
import soundfile

from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.tasks.datasets import DATASETS, Archive

_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHECKPOINT = "m/run/checkpoint.safetensors"


class Counter:
    """Counts file-system events below a folder, and kills this process just before one of them."""

    def __init__(self, folder: Path, fatal: int | None) -> None:
        self.folder, self.fatal, self.seen = str(folder), fatal, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, (str, bytes, os.PathLike)) or not (flags or 0) & _WRITING:
                return
        elif event not in _EVENTS:
            return
        if self.folder not in os.fsdecode(os.path.abspath(arguments[0])):  # type: ignore[type-var]
            return
        if self.seen == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1


def in_a_fork(folder: Path, words: Sequence[str], fatal: int | None) -> tuple[int, int]:
    """Run a command in ``folder`` as a process of its own.

    Returns its exit code (-9 if it was killed) and how many events there were.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 70
        try:
            code = _run(folder, words, fatal, writing)
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(said or 0)


def _run(folder: Path, words: Sequence[str], fatal: int | None, report: int) -> int:
    from svuprobe.cli import main

    os.chdir(folder)
    with (folder.parent / "said.txt").open("w", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    counter = Counter(folder, fatal)
    sys.addaudithook(counter)
    code = 0
    try:
        main(list(words), prog_name="svuprobe")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    os.write(report, str(counter.seen).encode())
    return code


def content(folder: Path) -> dict[str, Any]:
    """Every file below a folder by its path, without what differs from run to run."""
    found = run_content.content(folder)
    for name in found:
        if ("yamamoto" in name and not name.endswith(".json")) or name == _CHECKPOINT:
            found[name] = "a network"  # that holds the seconds of its training
        elif name == "m/run/curve.csv":
            with (folder / name).open(newline="", encoding="utf-8") as file:
                found[name] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return found


def mixed(folder: Path) -> list[str]:
    """Results that stand beside files of another run."""
    wrong = []
    for path in sorted(folder.rglob("results/*/*/*.json")):
        try:
            found = result_file.load(path)
            for suffix in found.files:
                result_file.require_unchanged(found, path, suffix)
        except ProbeError as error:
            wrong.append(str(error))
    return wrong


def write_project(folder: Path, scored: str, clips: int = 20) -> None:
    """Tones as a task of labels and one of notes; ``scored`` makes other tasks of them."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    splits = ("train", "train", "train", "valid", "test")
    rows = []
    for n in range(clips):
        seconds = np.arange(8000) / 8000
        tone = 0.3 * np.sin(2 * np.pi * (300 + 300 * (n % 2) + 5 * n) * seconds)
        soundfile.write(folder / "audio" / f"{n}.wav", tone, 8000)
        notes = f"audio/{n}.csv"
        (folder / notes).write_text(
            f"0.1,0.{5 if scored == 'clip' else 8},{60 + n % 2}\n", encoding="utf-8"
        )
        rows.append((f"audio/{n}.wav", "ab"[n % 2], notes, splits[n // 2 % 5]))
    for name, kind, column in (("own", "multiclass", 1), ("sung", "notes", 2)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "target", "split"])
            writer.writerows((row[0], row[column], row[3]) for row in rows)
        text = f'name = "{name}"\nkind = "{kind}"\nmetadata = "{name}.csv"\n'
        text += f'scored = "{scored}"\n' * (kind == "multiclass")
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    (folder / "mine.toml").write_text(
        'name = "mine"\nmodels = ["logmel"]\ntasks = ["own.toml"]\n'
        'protocols = [{ base = "linear", seeds = 2, max_epochs = 3 }]\n',
        encoding="utf-8",
    )


def write_litter(folder: Path) -> None:
    """What killed processes can leave in a folder of features."""
    cache = next((folder / "features").rglob("features.h5")).parent
    for name in ("shard-00000.h5", "shard-00007.h5", "features.h5", "plan-00000.json"):
        (cache / f"{name}.tmp-otherhost-1").write_bytes(b"half")
        (cache / f"{name}.tmp-otherhost-1.sha256").write_bytes(b"half")
        (cache / f"{name}.lock").touch()
    (cache / "shard-00009.h5.sha256").write_bytes(b"of no file")
    lists = folder / "features" / "tasks"
    (lists / "own.json.lock").touch()
    (lists / "own.json.tmp-otherhost-1").write_bytes(b"half")
    for left in (folder / "features").rglob("*.tmp-*"):
        os.utime(left, (0, 0))


def damage(folder: Path) -> None:
    """Change a byte of a shard, and of the file that joins it."""
    for name in ("shard-00000.h5", "features.h5"):
        path = next((folder / "features").rglob(name))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def more_clips(folder: Path) -> None:
    """Extract half of the clips before all of them, so that there are two shards."""
    write_project(folder, "clip", 10)
    _must(in_a_fork(folder, _EXTRACT.split(), None), _EXTRACT, folder)
    write_project(folder, "clip")


@contextmanager
def published(folder: Path) -> Iterator[None]:
    """Let ``data prepare`` find a dataset of two archives, one of them in two parts, on this
    machine.
    """
    for name in ("a", "b"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for n in range(3):
                archive.writestr(f"{name}{n % 2}/{n}.wav", np.random.default_rng(n).bytes(100_000))
    whole = (folder / "b.zip").read_bytes()
    for n, part in enumerate((whole[:150_000], whole[150_000:])):
        (folder / f"b.zip.{n}").write_bytes(part)
    os.environ["NO_PROXY"] = "127.0.0.1"
    real = DATASETS["vocalset"]
    with full_disks.served(folder) as card:
        url = card.archives[0].urls[0].rpartition("/")[0]
        parts = Archive("b.zip", (f"{url}/b.zip.0", f"{url}/b.zip.1"))
        DATASETS["vocalset"] = replace(card, archives=(*card.archives, parts))
        try:
            yield
        finally:
            DATASETS["vocalset"] = real


_PROBE = "probe --task own.toml --protocol linear --seeds 2 --max-epochs 3 --device cpu"
_TUNE = (
    "finetune --task own.toml --model random:wav2vec2-tiny --frozen-epochs 1 --epochs 1 --seeds "
    "2 --jobs 0"
)
_PRETRAIN = f"{full_disks.PRETRAIN} --audio audio --out m"
_EXTRACT = "extract --model logmel --task own.toml --jobs 0"
_SUITE = "run mine.toml --out out --device cpu"
_SUNG = "--task sung.toml --features sung"
_HEAR = f"extract --model logmel {_SUNG} --jobs 0"
_LEARN = (
    f"probe {_SUNG} --results sung/results --protocol linear --seeds 1 --max-epochs 3 --device cpu"
)
_PREDICT = (
    "predict --run {result} --audio audio/0.wav --audio audio/1.wav --out p --plot --device cpu"
)


@dataclass(frozen=True)
class Case:
    """A command that is killed, in words.

    What is run before it, on the older version of the task and on the one that counts; the command
    that goes on where it is another; whether exit code 1 is its answer, and no failure.
    """

    words: str
    before: tuple[str | Callable[[Path], None], ...] = ()
    then: tuple[str | Callable[[Path], None], ...] = ()
    again: str = ""
    finds: bool = False


COMMANDS = {
    "probe": Case(_PROBE, (_EXTRACT, _PROBE)),
    "finetune": Case(_TUNE, (_TUNE,), again=f"{_TUNE} --resume"),
    "run": Case(_SUITE, (_SUITE,)),
    "extract": Case(_EXTRACT),
    "predict": Case(_PREDICT, (_HEAR, _LEARN, _PREDICT), (_HEAR, _LEARN)),
    "leaderboard": Case("leaderboard", (_EXTRACT, _PROBE, "leaderboard"), (_PROBE,)),
    "plot": Case("plot scores", (_EXTRACT, _PROBE, "plot scores"), (_PROBE,)),
    "data synth": Case("data synth --task pitch --clips 3 --out d"),
    "data prepare": Case("data prepare --task technique --data d"),
    "cache verify": Case("cache verify --remove", (), (more_clips, _EXTRACT, damage), finds=True),
    "cache prune": Case("cache prune", (), (_EXTRACT, write_litter)),
    "report": Case("report", (_EXTRACT, _PROBE, "report"), (_PROBE,)),
    "plot map": Case("plot map --task own.toml --split all --out m.pdf", (), (_EXTRACT,)),
    "export": Case("export --format mteb --out e", (_EXTRACT, _PROBE), (_PROBE,)),
    "embed": Case("embed audio --model logmel --level frame --out e.h5 --device cpu"),
    "pretrain": Case(_PRETRAIN, again=f"{_PRETRAIN} --resume"),
    "cache prune --model": Case("cache prune --model logmel --yes", (), (more_clips, _EXTRACT)),
}


def attack(case: Case, folder: Path, every: int) -> tuple[int, list[str]]:
    """Kill one command at each of its events; returns how often, and what was wrong."""
    start, work = folder / "start", folder / "work" / "project"
    for scored, steps in (("window", case.before), ("clip", case.then)):
        write_project(start, scored)
        for step in steps:
            if callable(step):
                step(start)
            else:
                _must(in_a_fork(start, _filled(step, start), None), step, folder)
    words, again = _filled(case.words, start), _filled(case.again or case.words, start)
    good = {0, 1} if case.finds else {0}
    _fresh(start, work)
    code, events = in_a_fork(work, words, None)
    _must((code - case.finds, events), case.words, folder)
    expected, wrong, kills = content(work), [], range(0, events, every)
    for number in kills:
        _fresh(start, work)
        code, _ = in_a_fork(work, words, number)
        if code != -signal.SIGKILL:
            wrong.append(f"event {number}: ended with {code} before it was killed")
            continue
        wrong += [f"event {number}: {line}" for line in mixed(work)]
        code, _ = in_a_fork(work, again, None)
        if code not in good:
            said = (work.parent / "said.txt").read_text(encoding="utf-8").strip().splitlines()
            wrong.append(f"event {number}: the next run ended with {code}: {said[-1:]}")
            continue
        found = content(work)
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                wrong.append(f"event {number}: {name} is not there")
            elif name not in expected:
                wrong.append(f"event {number}: {name} was left")
            elif expected[name] != found[name]:
                which = _differing(expected[name], found[name])
                wrong.append(
                    f"event {number}: {name} is another than that of an undisturbed run{which}"
                )
    return len(kills), wrong


def _filled(words: str, folder: Path) -> list[str]:
    """The command with the path of the one result for notes in its place."""
    result = next(folder.glob("sung/results/*/*/*.json"), folder).relative_to(folder)
    return words.format(result=result).split()


def _differing(expected: Any, found: Any) -> str:
    """Keys of a JSON file that differ."""
    if not isinstance(expected, dict):
        return ""
    return f" in {', '.join(key for key in expected if expected[key] != found.get(key))}"


def _fresh(start: Path, work: Path) -> None:
    shutil.rmtree(work.parent, ignore_errors=True)
    work.parent.mkdir(parents=True)
    shutil.copytree(start, work)


def _must(ended: tuple[int, int], words: str, folder: Path) -> None:
    if ended[0]:
        said = next((p.read_text(encoding="utf-8") for p in folder.rglob("said.txt")), "")
        raise click.ClickException(f"{words} ended with {ended[0]}: {said}")


@click.command()
@click.option("--only", type=click.Choice(list(COMMANDS)), multiple=True, help="Repeatable.")
@click.option(
    "--every",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Only each n-th event.",
)
def main(only: tuple[str, ...], every: int) -> None:
    """Kill the commands that write at every file-system event."""
    import sklearn.linear_model  # noqa: F401  loaded once, before the forks
    import torch

    from svuprobe import api, suites  # noqa: F401
    from svuprobe.probe import probing as run  # noqa: F401
    from svuprobe.probe.finetune import run as finetune  # noqa: F401

    torch.set_num_threads(1)  # a fork must not wait for threads that it has not
    wrong = 0
    for name in only or COMMANDS:
        began = time.monotonic()
        with (
            tempfile.TemporaryDirectory() as folder,
            tempfile.TemporaryDirectory() as web,
            published(Path(web)),
        ):
            kills, lines = attack(COMMANDS[name], Path(folder), every)
        for line in lines:
            click.echo(f"  {line}")
        click.echo(f"{name}: {kills} kills, {len(lines)} wrong, {time.monotonic() - began:.0f} s")
        wrong += len(lines)
    if wrong:
        raise click.ClickException(f"{wrong} things were wrong, as listed above")


if __name__ == "__main__":
    main()
