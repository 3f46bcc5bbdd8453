"""Kill extraction at random moments, spoil its files, and see that nothing is lost and nothing is
done twice.

``python tests/by_hand/kill_extraction.py`` extracts 64 synthetic clips at frame level (8 shards)
undisturbed, then again while killing and resuming it: SIGKILL mostly, SIGTERM and SIGINT. After
each kill

- every shard that was finished before is the same file (inode and time) still, so none is written
  twice;
- ``svuprobe cache verify`` finds every byte as it was written.

Where a run ends before it is killed, its joined features must be those of the undisturbed run, byte
for byte, and the next begins from nothing. Then bytes of shards are flipped or their ends cut off;
``svuprobe cache verify`` must name exactly these, and after ``--remove`` the next
``svuprobe extract`` must make exactly these again.

It ends with exit code 1 where any of this does not hold.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import h5py
import numpy as np
import soundfile

CLIPS, SHARDS = 64, 8
SPOILED_AT_ONCE = 4
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
Seen = dict[str, tuple[int, int]]


def write_data(folder: Path, seed: int = 0) -> Path:
    """Noise of 5 to 20 s as a task on beats: its TOML."""
    rng = np.random.default_rng(seed)
    rows = ["path,target,split"]
    for n in range(CLIPS):
        soundfile.write(
            folder / f"{n}.wav", 0.1 * rng.normal(size=int(16000 * rng.uniform(5, 20))), 16000
        )
        (folder / f"{n}.beats").write_text("0.5\n1.0\n1.5\n", encoding="utf-8")
        rows.append(f"{n}.wav,{n}.beats,{('train', 'train', 'valid', 'test')[n % 4]}")
    (folder / "noise.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    toml = folder / "noise.toml"
    toml.write_text('name = "noise"\nkind = "beats"\nmetadata = "noise.csv"\n', encoding="utf-8")
    return toml


class Extraction:
    """One ``svuprobe extract`` into one folder, as often as it takes."""

    def __init__(self, toml: Path, features: Path, model: str) -> None:
        self.features = features
        self._words = [
            "extract",
            "--model",
            model,
            "--task",
            str(toml),
            "--features",
            str(features),
        ]
        self._words += [
            "--device",
            "cpu",
            "--dtype",
            "float32",
            "--batch-seconds",
            "2",
            "--jobs",
            "1",
        ]

    def start(self) -> subprocess.Popen[str]:
        """Begin or go on."""
        return subprocess.Popen(
            _command(*self._words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self) -> None:
        """Go on to the end."""
        process = self.start()
        told, _ = process.communicate()
        require(process.returncode == 0, f"extract ended with {process.returncode}: {told}")

    @property
    def cache(self) -> Path | None:
        """The folder of the cache, once there is one."""
        return next((path.parent for path in self.features.glob("*/*/plan-00000.json")), None)

    def shards(self) -> Seen:
        """Inode and time of every finished shard."""
        found = self.cache.glob("shard-*.h5") if self.cache else ()
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(found)}

    def digest(self) -> str:
        """Of the joined features and their index, as plain h5py reads them."""
        assert self.cache is not None
        digest = hashlib.sha256()
        with h5py.File(self.cache / "features.h5") as file:
            for name in sorted(file):
                data = file[name][:]
                digest.update(
                    data.tobytes() if data.dtype != object else repr(data.tolist()).encode()
                )
        return digest.hexdigest()

    def damaged(self, *options: str) -> set[str]:
        """Names of files that ``svuprobe cache verify`` finds damaged."""
        words = _command("cache", "verify", str(self.features), *options)
        done = subprocess.run(words, capture_output=True, text=True)
        found = set(re.findall(r"^\S.*/(\S+): (?!every byte)", done.stdout, re.MULTILINE))
        require(
            done.returncode == bool(found),
            f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}",
        )
        return found

    def at_work(self) -> bool:
        """Whether a shard is being written, or a lock was left when one was."""
        return any(self.features.glob("*/*/shard-*.lock"))


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "svuprobe", *words]


def require(holds: bool, otherwise: str) -> None:
    """End with one line where something does not hold."""
    if not holds:
        raise click.ClickException(otherwise)


def untouched(before: Seen, after: Seen) -> bool:
    """Whether the shards of ``before`` are the same files after."""
    return all(after.get(name) == seen for name, seen in before.items())


def kill(
    process: subprocess.Popen[str], run: Extraction, wait_s: float, rng: random.Random
) -> bool:
    """Kill it up to ``wait_s`` seconds after it began to write, once in five before; False where it
    has ended.
    """
    if rng.random() < 0.2:
        wait_s = 0.0
        time.sleep(rng.uniform(0, 1))
    else:
        for lock in run.features.glob("*/*/*.lock"):
            lock.unlink()
        while process.poll() is None and not run.at_work():
            time.sleep(0.005)
    try:
        process.wait(rng.uniform(0, wait_s))
    except subprocess.TimeoutExpired:
        process.send_signal(rng.choice(SIGNALS))
    process.communicate()
    return process.returncode != 0


def kill_and_resume(
    run: Extraction, reference: str, kills: int, wait_s: float, rng: random.Random
) -> None:
    """Kill it again and again; where it ends before, begin anew."""
    whole, in_hand, codes = 0, 0, Counter[int]()
    finished: Seen = {}
    while codes.total() < kills:
        process = run.start()
        killed = kill(process, run, wait_s, rng)
        now = run.shards()
        require(
            untouched(finished, now),
            f"kill {codes.total()}: a finished shard was written again: {finished} {now}",
        )
        if run.cache is not None:
            in_hand += any(run.cache.glob("shard-*.h5.tmp-*"))
            require(
                not run.damaged(), f"after {codes.total() + killed} kills cache verify found damage"
            )
        finished = now
        if killed:
            codes[process.returncode] += 1
            click.echo(
                f"  kill {codes.total():2d} ({process.returncode}): {len(now)} of {SHARDS} shards "
                "are finished"
            )
        else:
            require(run.digest() == reference, "the features are not those of a run undisturbed")
            whole, finished = whole + 1, {}
            shutil.rmtree(run.features)
    resumed = len(finished)
    run.finish()
    require(untouched(finished, run.shards()), "a finished shard was written again by the last run")
    require(run.digest() == reference, "the features are not those of a run undisturbed")
    # Locks of finished shards.
    subprocess.run(_command("cache", "prune", str(run.features)), capture_output=True)
    require(
        not list(run.features.rglob("*.tmp-*")) + list(run.features.rglob("*.lock")),
        "something was left behind",
    )
    ended = ", ".join(f"{n} with {code}" for code, n in sorted(codes.items()))
    click.echo(
        f"{codes.total()} kills (ended {ended}; {in_hand} left a shard in hand), {whole} runs "
        f"came to their end between them, the last one resumed at {resumed} shards: all the same "
        "bytes"
    )


def spoil_and_repair(run: Extraction, reference: str, injections: int, rng: random.Random) -> None:
    """Flip a bit of a shard or cut its end off, a few shards at a time; each must be found, and it
    alone repaired.
    """
    assert run.cache is not None
    done = Counter[str]()
    while done.total() < injections:
        before = run.shards()
        names = rng.sample(sorted(before), min(SPOILED_AT_ONCE, injections - done.total()))
        for name in names:
            path = run.cache / name
            if rng.random() < 0.25:
                os.truncate(path, rng.randrange(path.stat().st_size))
                done["truncated"] += 1
            else:
                with path.open("r+b") as file:
                    at = rng.randrange(path.stat().st_size)
                    file.seek(at)
                    (byte,) = file.read(1)
                    file.seek(at)
                    file.write(bytes([byte ^ 1 << rng.randrange(8)]))
                done["flipped"] += 1
        require(run.damaged() == set(names), f"cache verify did not find just {names}")
        require(
            run.damaged("--remove") == set(names),
            f"cache verify --remove did not find just {names}",
        )
        good = {name: seen for name, seen in before.items() if name not in names}
        require(run.shards() == good, f"cache verify --remove did not delete just {names}")
        run.finish()
        require(untouched(good, run.shards()), "a whole shard was written again")
        require(not run.damaged(), "extract did not repair the cache")
        require(
            run.digest() == reference, "the repaired features are not those of a run undisturbed"
        )
        click.echo(f"  {done.total()} of {injections} spoiled, found and repaired")
    click.echo(
        ", ".join(f"{n} {what}" for what, n in sorted(done.items()))
        + ": all found, they alone made again"
    )


@click.command()
@click.option("--model", default="random:wav2vec2-tiny", show_default=True)
@click.option("--kills", type=click.IntRange(min=0), default=25, show_default=True)
@click.option("--injections", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(model: str, kills: int, injections: int, seed: int) -> None:
    """Kill extraction at random moments and spoil its files; exit code 1 where anything is lost or
    done twice.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "data").mkdir()
        toml = write_data(Path(name) / "data")
        started = time.perf_counter()
        undisturbed = Extraction(toml, Path(name) / "undisturbed", model)
        process = undisturbed.start()
        while undisturbed.cache is None and process.poll() is None:
            time.sleep(0.01)
        ready_s = time.perf_counter() - started
        told, _ = process.communicate()
        whole_s = time.perf_counter() - started
        require(process.returncode == 0, told)
        require(
            len(undisturbed.shards()) == SHARDS,
            f"{SHARDS} shards were expected: {undisturbed.shards()}",
        )
        click.echo(
            f"undisturbed: {whole_s:.1f} s, of which {ready_s:.1f} s before the plan was written"
        )
        reference = undisturbed.digest()
        run = Extraction(toml, Path(name) / "features", model)
        kill_and_resume(run, reference, kills, (whole_s - ready_s) / 2, rng)
        spoil_and_repair(run, reference, injections, rng)
    click.echo("nothing lost, nothing done twice")


if __name__ == "__main__":
    main()
