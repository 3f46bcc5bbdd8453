"""Kill extract, probe, finetune, run, predict and leaderboard at every file-system event; nothing is ever mixed.

``python tests/kill_writing.py`` runs each command once undisturbed and counts what it asks of the
file system below its folder: opening a file to write, renaming, deleting, making a folder. Then it runs it again from
the same start, once for each of these events, and kills it (SIGKILL) just before the event. An older result, of
another version of the same task, lies where the new one will be. After each kill

- every result that can be read has beside it just the predictions and heads that were written with it;
- the same command again ends well (``finetune`` with ``--resume``);
- then all files are those of the undisturbed run, but for times and dates, and nothing else is left.

Each run is a fork of one process that has loaded everything, so a run takes as long as its work. It ends with exit
code 1 where any of this does not hold.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

from svuprobe.probe import result as result_file
from svuprobe.probe.protocol import ProbeError

_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_VOLATILE = {"timings", "date"}  # of a result's JSON


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
    """Every file below a folder by its path; results without what differs from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to(folder).as_posix()
        if name.startswith(("results", "out/results")) and path.suffix == ".json" and "suite" not in path.name:
            body = json.loads(path.read_bytes())
            body = {key: value for key, value in body.items() if key not in _VOLATILE}
            body["files"] = sorted(body["files"])  # networks say how long their training took
            body["model"].get("finetune", {}).update(seconds=0, epochs=0, stages=0, peak_memory_mib=0)
            found[name] = body
        elif "yamamoto" in name:  # trained networks hold the seconds of their training
            found[name] = "a network"
        else:
            found[name] = path.read_bytes()
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


def write_project(folder: Path, scored: str) -> None:
    """Twenty tones as a task; ``scored`` makes another task of it."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    splits = ("train", "train", "train", "valid", "test")
    with (folder / "own.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "target", "split"])
        for n in range(20):
            time = np.arange(8000) / 8000
            tone = 0.3 * np.sin(2 * np.pi * (300 + 300 * (n % 2) + 5 * n) * time)
            soundfile.write(folder / "audio" / f"{n}.wav", tone, 8000)
            writer.writerow([f"audio/{n}.wav", "ab"[n % 2], splits[n // 2 % 5]])
    text = f'name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\nscored = "{scored}"\n'
    (folder / "own.toml").write_text(text, encoding="utf-8")
    (folder / "mine.toml").write_text(
        'name = "mine"\nmodels = ["logmel"]\ntasks = ["own.toml"]\n'
        'protocols = [{ base = "linear", seeds = 2, max_epochs = 3 }]\n',
        encoding="utf-8",
    )


_PROBE = "probe --task own.toml --protocol linear --seeds 2 --max-epochs 3 --device cpu"
_TUNE = "finetune --task own.toml --model random:wav2vec2-tiny --frozen-epochs 1 --epochs 1 --seeds 2 --jobs 0"
_EXTRACT = "extract --model logmel --task own.toml --jobs 0"
_SUITE = "run mine.toml --out out --device cpu"
# Command -> what is run before it, on the older version of the task and on the one that counts.
COMMANDS: dict[str, tuple[list[str], list[str], str]] = {
    _PROBE: ([_EXTRACT, _PROBE], [], _PROBE),
    _TUNE: ([_TUNE], [], f"{_TUNE} --resume"),
    _SUITE: ([_SUITE], [], _SUITE),
    _EXTRACT: ([], [], _EXTRACT),
    "leaderboard": ([_EXTRACT, _PROBE, "leaderboard"], [_PROBE], "leaderboard"),
}


def attack(words: str, folder: Path, every: int, say: Callable[[str], None]) -> list[str]:
    """Kill one command at each of its events; returns what was wrong."""
    before, then, again = COMMANDS[words]
    start, work = folder / "start", folder / "work" / "project"
    write_project(start, "window")
    for one in before:
        _must(in_a_fork(start, one.split(), None), one, folder)
    write_project(start, "clip")
    for one in then:
        _must(in_a_fork(start, one.split(), None), one, folder)
    _fresh(start, work)
    code, events = in_a_fork(work, words.split(), None)
    _must((code, events), words, folder)
    expected, wrong = content(work), []
    for number in range(0, events, every):
        _fresh(start, work)
        code, _ = in_a_fork(work, words.split(), number)
        if code != -signal.SIGKILL:
            wrong.append(f"event {number}: ended with {code} before it was killed")
            continue
        wrong += [f"event {number}: {line}" for line in mixed(work)]
        code, _ = in_a_fork(work, again.split(), None)
        if code:
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
                wrong.append(f"event {number}: {name} is another than that of an undisturbed run{which}")
    for line in wrong:
        say(f"  {line}")
    say(f"{words.split()[0]}: killed before each of {events} events (every {every}): {len(wrong)} wrong")
    return wrong


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
@click.option("--only", type=click.Choice([words.split()[0] for words in COMMANDS]), multiple=True)
@click.option("--every", type=click.IntRange(1, 1000), default=1, show_default=True, help="Only each n-th event.")
def main(only: tuple[str, ...], every: int) -> None:
    """Kill the commands that write at every file-system event."""
    import sklearn.linear_model  # noqa: F401  loaded once, before the forks
    import torch

    from svuprobe import api, running  # noqa: F401
    from svuprobe.probe import finetune, run  # noqa: F401

    torch.set_num_threads(1)  # a fork must not wait for threads that it has not
    wrong = []
    for words in COMMANDS:
        if not only or words.split()[0] in only:
            with tempfile.TemporaryDirectory() as folder:
                wrong += [f"{words.split()[0]}: {line}" for line in attack(words, Path(folder), every, click.echo)]
    if wrong:
        raise click.ClickException(f"{len(wrong)} things were wrong, as listed above")


if __name__ == "__main__":
    main()
