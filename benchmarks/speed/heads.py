"""The default heads against scikit-learn's logistic regression on real recordings:
``results/heads.csv``.

``python benchmarks/speed/heads.py MANIFEST WORK`` takes the manifest of
`svuprobe.benchmarks.real_audio` and a folder for caches, extracts what is missing, and trains on
every split of every set (`SETS`: 30 to 2,000 training clips; recordings, instruments, pieces or
speakers on one side only) with every front end (`MODELS`: hand-made, random, a small network fit on
made-up notes)

- heads of the presets ``svuprobe`` and ``linear``: the ranked ones, weighted sums where there are
  several layers,
- logistic regression with C (`COSTS`) and scaling (per feature, per layer, none) chosen on the same
  validation split, on the best of a few layers and their mean where there are several.

Accuracies are means over splits; the standard error is that of the difference, with the groups of
the test splits (recordings, instruments, pieces, speakers) as its units. *inside* says that no
split chose a rate at the edge of the grid. Rows that are in the table already are not made again.

In the table there are thirteen sets of 30 to 2,000 training clips and five front ends: hand-made
ones with three splits of each set, a random transformer and a small trained network with two. MLPs
are 2.1 points above the regression on average, linear heads 0.1 below (without timbres-120, on
which the regression fails, 1.5 above and 1.0 below). Over its five front ends a set is worse by
more than a standard error for MLPs in 1 of 13 (pitches-250) and for linear heads in 2 (parts-1000
and part-pitches-2000, by 1.3 and 1.9 points: more patience there wins about one of them back). No
split chose an edge of the grid in 57 and 54 of 65 rows. A linear head costs 1.6 CPU seconds for
each split, an MLP 6.9.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

import svuprobe
from svuprobe._files import write_text
from svuprobe.extractors.cache import FeatureCache
from svuprobe.extractors.names import slug
from svuprobe.probe import evaluate
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import Protocol
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.heads import WEIGHTED_SUM
from svuprobe.probe.training.splits import Rows
from svuprobe.probe.training.train import fit
from svuprobe.probe.training.workers import matmul_precision_for, unthreaded
from svuprobe.tasks.manifest import ClipList
from svuprobe.tasks.types import SPLITS, Clip, Task, Windowing

Row = dict[str, Any]
_SHORTEST_S = 0.1  # a transformer's first frame takes 25 ms


@dataclass(frozen=True)
class Item:
    """A clip of a set: its id in the cache, its class, and what may not cross splits."""

    id: str
    target: str
    group: str


@dataclass(frozen=True)
class Set:
    """A classification task in several splits.

    ``sizes`` are clips of training, validation and test split at most, and the shares of the groups
    in each.
    """

    name: str
    material: str  # whose cache
    items: Callable[[list[Row]], Iterable[Item]]
    sizes: tuple[int, int, int]

    def split(self, rows: list[Row], number: int) -> dict[str, list[Item]]:
        """Items of each split: whole groups in one split, each class in all of them, then clips as
        ``sizes`` say.
        """
        rng = np.random.default_rng(number)
        items = list(self.items(rows))
        targets = sorted({i.target for i in items})
        share = np.cumsum(self.sizes) / sum(self.sizes)
        place: dict[str, str] = {}
        # Groups of a class are dealt out by share, one to each split at least.
        for target in targets:
            groups = sorted({i.group for i in items if i.target == target} - set(place))
            order = rng.permutation(len(groups))
            first, second = np.round(share[:2] * len(order)).astype(int)
            first = min(max(first, 1), max(len(order) - 2, 1))
            second = min(max(second, first + 1), max(len(order) - 1, 1))
            for n, g in enumerate(order):
                place[groups[g]] = SPLITS[int(n >= first) + int(n >= second)]
        made = {}
        for split, size in zip(SPLITS, self.sizes, strict=True):
            there = [i for i in items if place[i.group] == split]
            made[split] = _balanced(there, size, rng)
        return made


def _balanced(items: list[Item], size: int, rng: np.random.Generator) -> list[Item]:
    """At most ``size`` items, the classes as evenly as they go."""
    by_class: dict[str, list[Item]] = {}
    for n in rng.permutation(len(items)):
        by_class.setdefault(items[n].target, []).append(items[n])
    ranked = sorted(
        (n, target, item.id) for target, some in by_class.items() for n, item in enumerate(some)
    )
    chosen = {i for _, _, i in ranked[:size]}
    return [i for i in items if i.id in chosen]


def _in(rows: list[Row], folder: str) -> list[Row]:
    return [row for row in rows if row["path"].startswith(f"{folder}/")]


def _instrument(row: Row) -> str:
    return str(Path(row["path"]).stem.rsplit("-", 2)[0])


def digits(rows: list[Row]) -> Iterator[Item]:
    """Digits, recordings at random."""
    for row in _in(rows, "spoken_digits"):
        yield Item(row["path"], str(row["digit"]), row["path"])


def digits_of_speakers(rows: list[Row]) -> Iterator[Item]:
    """Digits, by speaker."""
    for row in _in(rows, "spoken_digits"):
        yield Item(row["path"], str(row["digit"]), row["speaker"])


def speakers(rows: list[Row]) -> Iterator[Item]:
    """Speakers of the digits."""
    for row in _in(rows, "spoken_digits"):
        yield Item(row["path"], row["speaker"], row["path"])


def families(rows: list[Row]) -> Iterator[Item]:
    """Instrument families, by instrument."""
    for row in _in(rows, "nsynthlike"):
        yield Item(row["path"], row["family"], _instrument(row))


def notes(rows: list[Row]) -> Iterator[Item]:
    """Instrument families of the notes of one instrument each, at random."""
    for row in _in(rows, "nsynthlike"):
        if row["split"] == "valid":
            yield Item(row["path"], row["family"], row["path"])


def pitches(rows: list[Row]) -> Iterator[Item]:
    """Pitches, each instrument's note at one loudness or more on one side."""
    for row in _in(rows, "nsynthlike"):
        yield Item(row["path"], str(row["pitch"]), row["path"].rsplit("-", 1)[0])


def parts(rows: list[Row]) -> Iterator[Item]:
    """Instrument families of half seconds, by note."""
    for row in _in(rows, "nsynthlike"):
        for n in range(8):
            yield Item(f"{row['path']}#{n}", row["family"], row["path"])


def part_pitches(rows: list[Row]) -> Iterator[Item]:
    """Pitches of half seconds, each instrument's note at one loudness or more on one side."""
    for row in _in(rows, "nsynthlike"):
        for n in range(8):
            yield Item(f"{row['path']}#{n}", str(row["pitch"]), row["path"].rsplit("-", 1)[0])


def moods(rows: list[Row]) -> Iterator[Item]:
    """Moods of two seconds of a piece, by piece."""
    for row in _in(rows, "mood_music"):
        for n in range(14):
            if row["mood"] != "energetic":
                yield Item(f"{row['path']}#{n}", row["mood"], row["path"])


def timbres(rows: list[Row]) -> Iterator[Item]:
    """Acoustic or electronic, of two seconds of a piece, by piece."""
    for row in _in(rows, "mood_music"):
        for n in range(14):
            yield Item(f"{row['path']}#{n}", row["timbre"], row["path"])


def shots(rows: list[Row]) -> Iterator[Item]:
    """Kinds of one-shots."""
    for row in _in(rows, "one_shots"):
        if (
            row["group"] not in ("guit", "sn", "misc", "vinyl")
            and float(row["dur_s"]) >= _SHORTEST_S
        ):
            yield Item(row["path"], row["group"], row["path"])


SETS = (
    Set("digits-30", "digits", digits, (30, 30, 300)),
    Set("digits-100", "digits", digits, (100, 50, 300)),
    Set("digits-400", "digits", digits, (400, 150, 250)),
    Set("digits-new-speaker-250", "digits", digits_of_speakers, (250, 100, 200)),
    Set("speakers-60", "digits", speakers, (60, 40, 300)),
    Set("shots-60", "shots", shots, (60, 20, 20)),
    Set("notes-106", "notes", notes, (106, 35, 35)),
    Set("families-176", "notes", families, (176, 176, 176)),
    Set("pitches-250", "notes", pitches, (250, 100, 178)),
    Set("moods-100", "moods", moods, (100, 50, 50)),
    Set("timbres-120", "moods", timbres, (120, 50, 50)),
    Set("parts-1000", "parts", parts, (1000, 300, 600)),
    Set("part-pitches-2000", "parts", part_pitches, (2000, 500, 700)),
)


MODELS = {
    "mfcc": "mfcc",
    "logmel": "logmel",
    "chroma": "chroma",
    "random": "random:wav2vec2-tiny",
    "network": f"py:{Path(__file__).with_name('small_network.py')}:SmallNetwork",
}
COSTS = 10.0 ** np.arange(-4, 4)
COLUMNS = (
    "set", "model", "head", "train", "reference", "accuracy", "difference", "standard_error",
    "rates", "inside", "cpu_s",
)  # fmt: skip


def write_material(manifest: Path, rows: list[Row], folder: Path) -> list[str]:
    """Write a task on own data for each material, for extraction alone: whole files, or pieces of
    them.
    """
    pieces = {
        "digits": ("spoken_digits", 1, None),
        "notes": ("nsynthlike", 1, None),
        "parts": ("nsynthlike", 8, 0.5),
        "moods": ("mood_music", 14, 2.0),
        "shots": ("one_shots", 1, None),
    }
    tasks = []
    for name, (source, count, seconds) in pieces.items():
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["id", "path", "target", "start", "end", "split", "group"])
        found = [
            (row, n)
            for row in _in(rows, source)
            if float(row["dur_s"]) >= _SHORTEST_S
            for n in range(count)
        ]
        for number, (row, n) in enumerate(found):
            clip = row["path"] if seconds is None else f"{row['path']}#{n}"
            span = ["", ""] if seconds is None else [n * seconds, (n + 1) * seconds]
            path = os.path.relpath(manifest.parent / row["path"], folder)
            writer.writerow([clip, path, "ab"[number % 2], *span, SPLITS[number % 3], clip])
        write_text(folder / f"{name}.csv", text.getvalue())
        keys = (
            f'name = "{name}"\nkind = "multiclass"\nmetadata = "{name}.csv"\nwindow_s = '
            "60.0\ntail_s = 0.0\n"
        )
        write_text(folder / f"{name}.toml", keys)
        tasks.append(str(folder / f"{name}.toml"))
    return tasks


def features_of(
    cache: FeatureCache, which: Set, rows: list[Row], number: int, protocol: Protocol
) -> ClipFeatures:
    """One split of a set, as heads see it."""
    items = which.split(rows, number)
    labels = tuple(sorted({i.target for some in items.values() for i in some}))
    task = Task(
        which.name,
        which.material,
        "multiclass",
        ("accuracy",),
        lambda root: [],
        Windowing(),
        "",
        "",
        labels=labels,
    )
    splits, clips, states, at = {}, [], [], 0
    for split, some in items.items():
        mine = tuple(Clip(i.id, "", split, i.target, i.group) for i in some)
        numbers = np.array([cache.rows_of[i.id][0] for i in some])
        states.append(np.concatenate([cache.read(n) for n in numbers]))
        splits[split] = Rows(mine, np.arange(at, at + len(some)), np.arange(len(some)))
        clips += mine
        at += len(some)
    joined = np.concatenate(states)
    held: Any = SimpleNamespace(features=joined, header=SimpleNamespace(dim=joined.shape[-1]))
    return ClipFeatures(held, splits, ClipList(task, tuple(clips), labels, False), protocol, "cpu")


def best_regression(features: ClipFeatures) -> np.ndarray:
    """Fit logistic regression with everything chosen on validation; returns what it got right of
    the test split.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Unscaled states, of which few are chosen.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    states = {split: block.states.float().numpy() for split, block in features.blocks.items()}
    targets = {split: block.targets.numpy() for split, block in features.blocks.items()}
    layers = states["train"].shape[1]
    views: list[Any] = [0] if layers == 1 else [*sorted({0, layers // 2, layers - 1}), slice(None)]
    best, right = -1.0, np.zeros(0)
    for view in views:
        seen = {
            split: x[:, view] if isinstance(view, int) else x.mean(axis=1)
            for split, x in states.items()
        }
        mean, deviation = seen["train"].mean(axis=0), seen["train"].std(axis=0)
        of_layer = np.full_like(deviation, np.sqrt(np.square(deviation).mean()))
        for shift, scale in ((mean, deviation), (mean, of_layer), (0 * mean, np.ones_like(mean))):
            scaled = {
                split: (x - shift) / np.where(scale > 0, scale, 1) for split, x in seen.items()
            }
            for cost in COSTS:
                model = LogisticRegression(C=cost, max_iter=300).fit(
                    scaled["train"], targets["train"]
                )
                score = float(model.score(scaled["valid"], targets["valid"]))
                if score > best:
                    best, right = score, model.predict(scaled["test"]) == targets["test"]
    return np.asarray(right, dtype=float)


def best_heads(features: ClipFeatures, protocol: Protocol) -> tuple[np.ndarray, float]:
    """Train the ranked heads of a protocol; returns what they got right of the test split and their
    learning rate.
    """
    summed = features.blocks["train"].states.shape[1] > 1
    ranked = replace(protocol, single_layers=not summed)
    with unthreaded("cpu"):
        fitted = fit(
            features,
            ranked,
            features.blocks["train"].states.shape[2],
            None,
            matmul_precision_for(ranked, "cpu"),
        )
        choices = evaluate.select(features, evaluate.rate_scores(features, fitted))
        choice = choices[WEIGHTED_SUM if summed else 0]
        outputs = features.outputs(evaluate.chosen_bank(fitted, choice), "test")
    right = outputs.argmax(axis=2) == features.blocks["test"].targets.numpy()
    return right.mean(axis=0), choice.learning_rate


def compare(
    which: Set, name: str, cache: FeatureCache, rows: list[Row], splits: int, heads: list[str]
) -> list[Row]:
    """Make the rows of a set and a front end, one for each kind of head."""
    of_reference: list[np.ndarray] = []
    groups: list[np.ndarray] = []
    made = []
    for head in heads:
        protocol = preset(head)
        differences, rates, accuracies, seconds = [], [], [], 0.0
        for number in range(splits):
            features = features_of(cache, which, rows, number, protocol)
            if len(of_reference) == number:
                of_reference.append(best_regression(features))
                groups.append(np.array([c.group for c in features.splits["test"].clips]))
            started = time.process_time()
            right, rate = best_heads(features, protocol)
            seconds += time.process_time() - started
            accuracies.append(float(right.mean()))
            differences.append(right - of_reference[number])
            rates.append(rate)
        made.append(
            {
                "set": which.name,
                "model": name,
                "head": head,
                "train": len(features.splits["train"].clips),
                "reference": f"{np.mean([right.mean() for right in of_reference]):.3f}",
                "accuracy": f"{np.mean(accuracies):.3f}",
                "difference": f"{np.mean([d.mean() for d in differences]):+.3f}",
                "standard_error": f"{clustered_error(differences, groups):.3f}",
                "rates": " ".join(f"{rate:g}" for rate in rates),
                "inside": all(
                    min(protocol.learning_rates) < r < max(protocol.learning_rates) for r in rates
                ),
                "cpu_s": f"{seconds / splits:.1f}",
            }
        )
    return made


def clustered_error(values: list[np.ndarray], groups: list[np.ndarray]) -> float:
    """Standard error of the mean over splits of a mean over test clips, with groups as units over
    all splits.
    """
    deviations: dict[str, float] = {}
    for value, group in zip(values, groups, strict=True):
        for one, name in zip(value - value.mean(), group, strict=True):
            deviations[name] = deviations.get(name, 0.0) + one / len(value) / len(values)
    if len(set(map(len, values))) and len(deviations) > len(values):
        inner = sum(d**2 for d in deviations.values()) * len(deviations) / (len(deviations) - 1)
        return float(np.sqrt(inner))
    # One group a split.
    return float(np.std([v.mean() for v in values], ddof=1) / np.sqrt(len(values)))


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--splits", default=2, show_default=True, help="Splits of each set.")
@click.option("--set", "names", multiple=True, help="Sets; all if not given.")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(list(MODELS)),
    help="Front ends; all if not given.",
)
@click.option("--head", "heads", multiple=True, default=("linear", "svuprobe"), help="Presets.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(__file__).parent / "results" / "heads.csv",
)
def main(
    manifest: Path,
    work: Path,
    splits: int,
    names: tuple[str, ...],
    models: tuple[str, ...],
    heads: tuple[str, ...],
    out: Path,
) -> None:
    """Compare the default heads with logistic regression on the recordings of MANIFEST."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row | json.loads(row["labels"]) for row in csv.DictReader(file)]
    tasks = write_material(manifest, rows, work / "tasks")
    chosen = {name: MODELS[name] for name in models or MODELS}
    svuprobe.extract(
        tasks,
        list(chosen.values()),
        data=work,
        features=work / "features",
        options=svuprobe.RunOptions(reporter=svuprobe.Reporter(click.echo)),
    )
    table: list[Row] = []
    if out.exists():
        with out.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    for which in SETS:
        for name, model in chosen.items():
            lacking = [
                h
                for h in heads
                if (which.name, name, h) not in {(r["set"], r["model"], r["head"]) for r in table}
            ]
            if (names and which.name not in names) or not lacking:
                continue
            folder = next((work / "features").glob(f"{slug(model)}@*/{which.material}-*-clip"))
            with FeatureCache(folder) as cache:
                table += compare(which, name, cache, rows, splits, lacking)
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
            write_text(out, text.getvalue())
            for row in table[-len(lacking) :]:
                click.echo(" ".join(f"{row[column]}" for column in COLUMNS))
    for head in heads:
        click.echo(summary([row for row in table if row["head"] == head]))


def summary(table: list[Row]) -> str:
    """Say in a line how a kind of head does."""
    if not table:
        return "no rows"
    by_set: dict[str, list[tuple[float, float]]] = {}
    for row in table:
        by_set.setdefault(row["set"], []).append(
            (float(row["difference"]), float(row["standard_error"]))
        )
    rows = np.array([pair for pairs in by_set.values() for pair in pairs])
    sets = np.array([np.mean(pairs, axis=0) for pairs in by_set.values()])
    worse, better = (rows[:, 0] < -rows[:, 1]).sum(), (rows[:, 0] > rows[:, 1]).sum()
    inside = sum(str(row["inside"]) == "True" for row in table)
    return (
        f"{table[0]['head']}: mean difference {100 * rows[:, 0].mean():+.1f} points; worse by "
        f"more than a standard error in {worse} of {len(rows)} rows, better in {better}; worse so "
        f"in {(sets[:, 0] < -sets[:, 1]).sum()} of {len(sets)} sets over all front ends; rates "
        f"inside the grid in {inside} rows"
    )


if __name__ == "__main__":
    main()
