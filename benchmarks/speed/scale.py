"""What all tasks with many encoders cost at real size, from costs of one unit each.

``python benchmarks/speed/scale.py [--gpu-tflops 150] [--cpu-gflops 58] [--threads 256] ...`` prints
two tables as Markdown: what each dataset takes on disk and in probes, and how long all of it takes
on one GPU, on eight, and on a cluster of CPUs, with what bounds it. With options of your own it is
about your machines. The documentation's page on scale shows the tables with the costs below.

Conventions
-----------
**Audio** is that of the datasets' cards; where a card does not know it, of the number of songs (see
`HOURS`). Tasks on one dataset with one windowing share a cache. **Operations** of an encoder for a
second of audio are measured (`encoders.py`, `extraction.py`) where there is a number, else two for
each weight and frame. **Rows** are windows, or at frame level frames. **Probes** train a head for
every layer and the weighted sum, rate of the grid and seed, on four fifths of the rows, for
`EPOCHS` epochs: an assumption, since each stops by its own validation, and few layers need heads
beyond the grid. CPU seconds of a head for a row are those of `probing.py` and `frames.py`, in
proportion to the width of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import click

from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import TABLE, kinds, load
from svuprobe.tasks.datasets import DATASETS, embedded_folder
from svuprobe.tasks.types import Task

# GFLOP for a second of audio, as measured; others of a family are alike.
MEASURED = {
    "wav2vec2": 14.8, "wavlm": 14.8, "mert": 14.8, "data2vec": 14.8,
    "muq": 42.0, "musicfm": 42.0, "mert2": 32.5, "dasheng": 4.5,
}  # fmt: skip
# The one of the family that was measured; larger ones take more in proportion to their weights.
_MEASURED_WEIGHTS = {
    "wav2vec2": 94.4e6, "wavlm": 94.4e6, "mert": 94.4e6, "data2vec": 94.4e6,
    "muq": 316e6, "musicfm": 316e6, "mert2": 632e6, "dasheng": 85.4e6,
}  # fmt: skip
ENCODERS = (
    "wav2vec2-base", "wavlm-base-plus", "music2vec-v1", "mert-v0-public", "mert-v1-95m",
    "mert-v1-330m", "mert-v2-30s", "muq-large", "musicfm-msd", "dasheng-base", "dasheng-0.6b",
    "dasheng-1.2b",
)  # fmt: skip
FRAMES_PER_S = {"wav2vec2": 50, "wavlm": 50, "data2vec": 50, "mert": 75}  # others 25
# Of audio where a card says nothing: songs of four minutes, and what vocadito's paper says.
HOURS = {"mir-st500": 33.0, "chords1217": 81.0, "vocadito": 0.2}
WIDTH = 768  # of the layers that heads were measured on
TRAINED = 0.8  # share of the rows that is trained on, or validated
EPOCHS = 25


@dataclass(frozen=True)
class Costs:
    """Hold what units cost.

    Attributes
    ----------
    decode_s
        CPU seconds to decode and resample an hour of audio, at most (`decoding.py`).
    cpu_gflops
        10^9 operations a second of an encoder on one hardware thread, float32 (`extraction.py`: 116
        on the two threads of a core).
    gpu_tflops
        10^12 operations a second of an encoder on one GPU. **Derived, not measured**: half of the
        312 that an A100 is specified with in bfloat16, where on a CPU encoders reach 0.62 of what
        a matrix product does.
    head_s
        CPU seconds of a head for a row of a task of whole windows and an epoch (`probing.py`).
    frame_s
        The same for a linear head and a frame (`frames.py`).
    gpu_threads
        Hardware threads that decode and probe beside each GPU.
    threads
        Hardware threads of the cluster of CPUs.
    disk_gib
        GiB a second that features are written to the disk all share.
    """

    decode_s: float = 7.0
    cpu_gflops: float = 58.0
    gpu_tflops: float = 150.0
    head_s: float = 2.2e-5
    frame_s: float = 9.6e-7
    gpu_threads: int = 16
    threads: int = 256
    disk_gib: float = 0.5


@dataclass(frozen=True)
class Load:
    """Hold what there is to do: hours of audio times operations, bytes, CPU seconds."""

    hours: float = 0.0
    gflop: float = 0.0
    features: float = 0.0
    probe_s: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Load)))


def frame_rate(encoder: str) -> int:
    """Return the frames per second of an encoder."""
    return FRAMES_PER_S.get(CATALOGUE[encoder].family, 25)


def gflop_per_s(encoder: str) -> float:
    """Return the operations for a second of audio: as measured, or in proportion to the weights."""
    card = CATALOGUE[encoder]
    return MEASURED[card.family] * (card.parameters or 0) / _MEASURED_WEIGHTS[card.family]


def hours_of(task: Task) -> float:
    """Return the audio of a task's dataset."""
    return DATASETS[task.dataset].hours or HOURS[task.dataset]


def groups() -> dict[str, list[Task]]:
    """Return the tasks on each dataset whose hours are known, without those that ship and take
    minutes.
    """
    by_dataset: dict[str, list[Task]] = {}
    for name in TABLE:
        task = load(name)
        known = DATASETS[task.dataset].hours or task.dataset in HOURS
        if known and not embedded_folder(task.dataset):
            by_dataset.setdefault(task.dataset, []).append(task)
    return by_dataset


def of_task(task: Task, encoder: str, costs: Costs) -> Load:
    """Return what probing a task takes."""
    card = CATALOGUE[encoder]
    protocol = Protocol()
    heads = (card.layers + 1) * len(protocol.learning_rates) * protocol.seeds
    whole = kinds.of(task).level == "clip"
    seconds = hours_of(task) * 3600
    rows = seconds / (task.windowing.window_s or 30.0) if whole else seconds * frame_rate(encoder)
    each = costs.head_s if whole else costs.frame_s
    return Load(probe_s=heads * EPOCHS * TRAINED * rows * each * card.dim / WIDTH)


def of_cache(task: Task, encoder: str) -> Load:
    """Return what extraction takes for a task: its cache may be others' too."""
    card = CATALOGUE[encoder]
    seconds = hours_of(task) * 3600
    if kinds.of(task).level == "clip":
        rows = 2 * seconds / (task.windowing.window_s or 30.0)  # means and deviations
    else:
        rows = seconds * frame_rate(encoder)
    features = rows * card.layers * card.dim * 2  # bytes of a float16
    return Load(seconds / 3600, seconds * gflop_per_s(encoder), features)


def of_dataset(tasks: list[Task], costs: Costs) -> Load:
    """Return what all encoders take on a dataset."""
    total = Load()
    for encoder in ENCODERS:
        caches = {(task.windowing.key, kinds.of(task).level): task for task in tasks}
        for task in caches.values():
            total += of_cache(task, encoder)
        for task in tasks:
            total += of_task(task, encoder, costs)
    # Each file is decoded once for all encoders and heads of its windowing.
    return replace(total, hours=total.hours / len(ENCODERS))


def times_of(load: Load, costs: Costs) -> dict[str, dict[str, float]]:
    """Return hours of every kind of work on each machine, as if it were done alone."""
    machines = {
        "one GPU": (costs.gpu_tflops * 1e3, costs.gpu_threads),
        "eight GPUs": (8 * costs.gpu_tflops * 1e3, 8 * costs.gpu_threads),
        f"{costs.threads} threads": (costs.threads * costs.cpu_gflops, costs.threads),
    }
    times = {}
    for name, (gflops, threads) in machines.items():
        times[name] = {
            "decoding": load.hours * costs.decode_s / threads / 3600,
            "encoders": load.gflop / gflops / 3600,
            "disk": load.features / (costs.disk_gib * 2**30) / 3600,
            "probes": load.probe_s / threads / 3600,
        }
    return times


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def lines(costs: Costs) -> Iterator[str]:
    """Yield both tables."""
    yield _row("dataset", "tasks", "hours", "features, GiB", "encoders, PFLOP", "probes, CPU hours")
    yield _row(*["---"] * 6)
    total = Load()
    for dataset, tasks in groups().items():
        load = of_dataset(tasks, costs)
        total += load
        yield _row(
            f"`{dataset}`", len(tasks), f"{hours_of(tasks[0]):,.3g}",
            f"{load.features / 2**30:,.0f}", f"{load.gflop / 1e6:,.0f}",
            f"{load.probe_s / 3600:,.0f}",
        )  # fmt: skip
    yield _row(
        "all", sum(map(len, groups().values())), "", f"{total.features / 2**30:,.0f}",
        f"{total.gflop / 1e6:,.0f}", f"{total.probe_s / 3600:,.0f}",
    )  # fmt: skip
    yield ""
    times = times_of(total, costs)
    kinds_of_work = next(iter(times.values()))
    yield _row("hours on", *kinds_of_work, "bound by")
    yield _row(*["---"] * (len(kinds_of_work) + 2))
    for machine, hours in times.items():
        most = max(hours, key=lambda kind: hours[kind])
        yield _row(machine, *(f"{each:,.1f}" for each in hours.values()), most)


def table() -> str:
    """Return both tables with the costs that were measured."""
    return "\n".join(lines(Costs()))


def main() -> None:
    """Print both tables with the costs that were given."""

    def show(**given: float) -> None:
        for line in lines(Costs(**given)):  # type: ignore[arg-type]
            click.echo(line)

    command = click.command(help="Print what all tasks cost.")(show)
    for field in fields(Costs):
        kind = int if isinstance(field.default, int) else float
        option = click.option(
            f"--{field.name.replace('_', '-')}", type=kind, default=field.default, show_default=True
        )
        command = option(command)
    command()


if __name__ == "__main__":
    main()
