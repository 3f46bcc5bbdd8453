"""Pin what svuprobe computes, before a change that may change nothing, and compare after it.

``python tests/by_hand/pins.py write FILE`` makes a small world on seeded audio: tasks of every
kind, tiny checkpoints of every family, the hand-made front ends. It extracts, probes, fine-tunes,
predicts and writes the leaderboard through the command line, and writes to FILE (JSON) a number or
digest for everything that came out. ``compare FILE`` makes the same world again and prints what
differs; exit code 1 if anything does.

Bits are compared, so both have to run on one machine. What may differ is left out: dates, timings,
versions, paths.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import soundfile
from safetensors.numpy import load_file

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "extractors")]

CLIPS = 24
VOLATILE = {
    "timings",
    "date",
    "versions",
    "git",
    "path",
    "peak_memory_mib",
    "seconds",
    "files",
    "machine",
}
TARGETS = {  # kind -> target of a clip by its number
    "multiclass": lambda n: "abc"[n % 3],
    "multilabel": lambda n: "|".join(t for k, t in enumerate("abc") if n >> k & 1) or "a",
    "regression": lambda n: str(round((n % 7) / 7 - 0.4, 3)),
}


def audio(number: int) -> np.ndarray:
    """Return 2.2 s of a tone that follows the clip's class, with beats and noise, at 16 kHz."""
    rng = np.random.default_rng(number)
    t = np.arange(35200) / 16000
    tone = np.sin(2 * np.pi * (220 + 110 * (number % 3)) * t) * (
        1 + 0.5 * np.sin(2 * np.pi * 2 * t)
    )
    return 0.2 * tone + 0.05 * rng.standard_normal(len(t))


def write_world(folder: Path) -> list[str]:
    """Write recordings and a task of every kind; returns the tasks."""
    (folder / "audio").mkdir(parents=True)
    for n in range(CLIPS):
        soundfile.write(folder / "audio" / f"{n}.wav", audio(n), 16000)
        beats = "".join(f"{t:.3f}\n" for t in np.arange(0.2, 2.1, 0.45 + 0.05 * (n % 3)))
        (folder / "audio" / f"{n}.beats").write_text(beats)
        notes = [(0.1, 0.6), (0.7, 1.2), (1.3, 2.0)]
        rows = "".join(f"{a},{b},{57 + 5 * (n % 3) + k}\n" for k, (a, b) in enumerate(notes))
        (folder / "audio" / f"{n}.csv").write_text(f"onset_s,offset_s,midi\n{rows}")
    targets = TARGETS | {"beats": lambda n: f"audio/{n}.beats", "notes": lambda n: f"audio/{n}.csv"}
    tasks = []
    for kind, target in targets.items():
        with (folder / f"{kind}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "target", "split", "group"])
            for n in range(CLIPS):
                split = ("train", "train", "valid", "test")[n // 3 % 4]
                writer.writerow([f"audio/{n}.wav", target(n), split, f"g{n // 3}"])
        keys = 'targets = ["v"]\n' if kind == "regression" else ""
        toml = f'name = "{kind}"\nkind = "{kind}"\nmetadata = "{kind}.csv"\n{keys}'
        (folder / f"{kind}.toml").write_text(toml)
        tasks.append(f"{kind}.toml")
    return tasks


def write_models(folder: Path) -> list[str]:
    """Write a tiny checkpoint of every family; returns the names of all models."""
    import checkpoints
    import test_own_models as others

    names = ["logmel", "mfcc", "chroma", "random:wav2vec2-tiny"]
    for kind in checkpoints.LAYOUTS:
        checkpoints.write(folder / "models" / kind, kind)
        names.append(f"hf:./models/{kind}")
    for kind in others.TINY:
        others.write(folder / "models" / kind, kind)
        names.append(f"hf:./models/{kind}")
    return names


def run(folder: Path, *words: str) -> str:
    """Run a command of svuprobe in a folder; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "svuprobe", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"{' '.join(words)}: {done.stdout[-600:]}{done.stderr[-2000:]}")
    return done.stdout


def digest(values: Any) -> str:
    """Digest an array's type, shape and bytes."""
    array = np.ascontiguousarray(values)
    text = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(
        text + (repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    ).hexdigest()[:16]


def flat(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Leaves of a JSON value with their places, without what may differ."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in VOLATILE:
                yield from flat(one, f"{at}/{key}")
    elif isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        for n, one in enumerate(value):
            yield from flat(one, f"{at}/{n}")
    else:
        yield at, value


def pins_of(folder: Path) -> dict[str, Any]:
    """Make the world in a folder and return what came out."""
    tasks, models = write_world(folder), write_models(folder)
    pins: dict[str, Any] = {}
    clip_tasks = tasks[:3]
    some = ["logmel", "random:wav2vec2-tiny"]

    def words(option: str, values: list[str]) -> list[str]:
        return [w for value in values for w in (option, value)]

    run(
        folder,
        "extract",
        *words("--task", clip_tasks[:1]),
        *words("--model", models),
        "--jobs",
        "1",
    )
    run(folder, "extract", *words("--task", tasks), *words("--model", some), "--jobs", "1")
    for cache in sorted((folder / "features").glob("*/*/features.h5")):
        with h5py.File(cache) as file:
            rows = file["features"][:]
        name = cache.parent.relative_to(folder / "features")
        # A local model's folder ends with a digest of its
        # path, and the world lies elsewhere each time.
        model = re.sub(r"^(local-.+)-[0-9a-f]{8}$", r"\1", name.parts[0].split("@")[0])
        pins[f"features/{model}/{name.name}"] = digest(rows)
    quick = [
        "--max-epochs",
        "3",
        "--seeds",
        "2",
        "--learning-rate",
        "0.01",
        "--learning-rate",
        "0.1",
    ]
    run(folder, "probe", *words("--task", clip_tasks), *words("--model", some), *quick)
    run(
        folder,
        "probe",
        *words("--task", tasks),
        *words("--model", some),
        "--protocol",
        "linear",
        *quick,
    )
    tune = ["--epochs", "1", "--frozen-epochs", "1", "--seeds", "1", "--jobs", "0"]
    run(
        folder,
        "finetune",
        *words("--task", [tasks[0], tasks[4]]),
        "--model",
        "random:wav2vec2-tiny",
        *tune,
    )
    run(folder, "leaderboard", "--results", "results", "--out", "leaderboard.md")
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder / "results")
        if path.suffix == ".json":
            pins |= dict(flat(json.loads(path.read_text()), f"results/{name}"))
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                pins |= {f"results/{name}/{key}": digest(file[key]) for key in file.files}
        elif path.suffix == ".safetensors":
            pins |= {
                f"results/{name}/{key}": digest(value) for key, value in load_file(path).items()
            }
    for path in sorted((folder / "results").glob("*/*/*.json"))[::3]:
        name = path.relative_to(folder / "results")
        out = run(
            folder,
            "predict",
            "--run",
            str(path),
            "--audio",
            "audio/3.wav",
            "--out",
            f"said/{name.stem}",
            "--format",
            "csv",
        )
        pins[f"predict/{name}"] = hashlib.sha256(out.replace(str(folder), "").encode()).hexdigest()[
            :16
        ]
    board = (folder / "leaderboard.md").read_text().replace(str(folder), "")
    pins["leaderboard"] = hashlib.sha256(board.encode()).hexdigest()[:16]
    return pins


@click.command()
@click.argument("what", type=click.Choice(["write", "compare"]))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def main(what: str, file: Path) -> None:
    """Write pins to FILE, or compare with those in it."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        pins = pins_of(world)
    if what == "write":
        file.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n")
        click.echo(f"{len(pins)} pins")
        return
    before = json.loads(file.read_text())
    before = {
        re.sub(r"^(features/local-[^/]+)-[0-9a-f]{8}/", r"\1/", key): pin
        for key, pin in before.items()
    }
    now = json.loads(json.dumps(pins))
    different = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    for key in different:
        click.echo(f"{key}: {before.get(key)} -> {now.get(key)}")
    click.echo(f"{len(before)} pins before, {len(different)} differ")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
