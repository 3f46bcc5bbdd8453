"""Draw maps of features: the windows of a task as points in two dimensions, from caches alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._errors import OptionError, did_you_mean
from svuprobe._machine import check_whole
from svuprobe._progress import SILENT, Reporter
from svuprobe._show import shown
from svuprobe._text import picture
from svuprobe.api import display
from svuprobe.api.arguments import local_path, model_names, task_name
from svuprobe.api.probing import folders_of, lists_of
from svuprobe.benchmarks.plots import saving, scatter, style
from svuprobe.benchmarks.projection import METHODS, Projection, project
from svuprobe.extractors.cache import FeatureCache, require_place
from svuprobe.extractors.names import is_control
from svuprobe.extractors.store.opening import place_of
from svuprobe.probe import identity
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.results.naming import as_kept, display_names, without_folders
from svuprobe.probe.training.splits import Rows
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.colouring import Colouring
from svuprobe.tasks.manifest import ClipList

SPLITS = ("test", "valid", "train", "all")
MOST_POINTS = 2000  # of a model: t-SNE takes some ten seconds for them, and an eye sees no more
_WORDS = {"pca": "PCA", "tsne": "t-SNE"}
_SPLIT_WORDS = {"valid": "validation", "train": "training"}


@dataclass(frozen=True)
class MapOptions:
    """Say what a map shows.

    Attributes
    ----------
    layer
        A layer of every model, by its name or its number in plots; empty for the layer whose own
        head is best on validation, where a result says it, else the last.
    method
        ``pca`` or ``tsne``.
    split
        ``test``, ``valid``, ``train`` or ``all``.
    seed
        Of the windows that are drawn from more than there is room for, and of t-SNE.
    window_s
        Of windows that extraction was asked for in place of the task's own; None for its own.
    names
        Display names by model.

    Raises
    ------
    OptionError
        There is no such method or split, or the seed is none.
    ProbeError
        A display name is none, or stands for two models.
    """

    layer: str = ""
    method: str = "pca"
    split: str = "test"
    seed: int = 0
    window_s: float | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    __repr__ = shown

    def __post_init__(self) -> None:
        """Check every value."""
        for name, known in (("method", METHODS), ("split", SPLITS)):
            value = getattr(self, name)
            if value not in known:
                raise OptionError(f"{name} = {value!r}; {did_you_mean(value, known)}")
        check_whole("seed", self.seed, 0, 2**31)
        object.__setattr__(self, "names", display_names(self.names))


def plot_map(
    task: str | Path,
    models: str | Path | Sequence[str | Path] = (),
    *,
    features: str | Path,
    out: str | Path,
    results: str | Path | None = None,
    options: MapOptions | None = None,
    reporter: Reporter = SILENT,
) -> list[Path]:
    """Draw the features of a task's windows in two dimensions, coloured by what the task asks for.

    Parameters
    ----------
    task
        Name, as extraction took it.
    models
        Names, each a panel; none for all that have features.
    features
        The folder of all caches, or the address of a store.
    out
        Folder of the pictures; or a file that ends in ``.pdf``, ``.svg`` or ``.png``.
    results
        The folder of results, which say what layer is best; None for the last layer.
    options
        What is shown, and how.
    reporter
        Is told what goes on.

    Returns
    -------
    list of Path
        The files that were written: pictures, and the places of all points as CSV.

    Raises
    ------
    TaskError
        Clips of the task have no label or value of their own.
    ProbeError
        There are no features, no such layer, too few windows, or a display name is of no model
        here.

    Example
    -------
    >>> import svuprobe
    >>> paths = svuprobe.plot_map("technique", ["logmel"], features="features", out="plots")
    >>> [path.suffix for path in paths]
    ['.png', '.svg', '.csv']
    """
    options, out = options or MapOptions(), local_path(out)
    place = place_of(features, reporter)
    place.fetch_lists()
    task, asked = task_name(task), [as_kept(name) for name in model_names(models, reporter)]
    options = replace(options, names=display.in_features(place.folder, options.names))
    lists, problems = lists_of(place, task, options.window_s)
    if not lists:
        raise ProbeError(problems[0])
    one_file = saving.is_file_name(out)
    if one_file and len(lists) > 1:
        several = " and ".join(clips.folder for clips in lists)
        raise ProbeError(f"{out}: one file, but there are features of {several}; name a folder")
    written: list[Path] = []
    for clips in lists:
        reader = _Reader(clips, None if results is None else local_path(results), options, reporter)
        folders, unusable = folders_of(place, clips, asked, Protocol(), reporter)
        if unusable:
            raise ProbeError(unusable[0])
        if len(folders) > scatter.MOST_MODELS:
            raise ProbeError(
                f"{place}: {len(folders)} models have features for task {task}; a map shows up "
                f"to {scatter.MOST_MODELS}: choose some with --model"
            )
        for folder in folders:
            place.fetch_features(folder)
        shown = [reader.read(folder) for folder in reporter.watch(folders, "map", unit="model")]
        display.require_asked(options.names, [one.about["model"] for one in shown])
        stem = out if one_file else out / f"map-{clips.folder}-{options.method}"
        written += _save(shown, reader, stem, one_file)
    return written


@dataclass(frozen=True)
class _Read:
    """Hold what was read of one model: its points, and which window each of them is."""

    points: scatter.Points
    about: dict[str, str]  # the columns of the CSV that all its points share
    window: np.ndarray  # (N,)
    several: int  # windows of which the points were drawn


class _Reader:
    """Read caches of one task into points."""

    def __init__(
        self, listed: ClipList, results: Path | None, options: MapOptions, reporter: Reporter
    ) -> None:
        self.listed, self.results, self.options, self.reporter = listed, results, options, reporter
        # Before any features are read: a task may have nothing to colour by.
        clips = [c for c in listed.clips if options.split in (c.split, "all")]
        kind = kinds.of(listed.task)
        if not clips:
            raise ProbeError(f"task {listed.task.name}: has no clip in the split {options.split}")
        self.clips = clips
        self.colourings: list[Colouring] = list(kind.colourings(listed.task, listed.labels, clips))

    def read(self, folder: Path) -> _Read:
        """Read the points of one cache."""
        with FeatureCache(folder) as cache:
            require_place(folder, cache.header)
            # Labels of other audio would colour these points.
            identity.refuse_other_audio(cache, self.listed)
            numbers = [n for n, clip in enumerate(self.clips) if clip.id in cache.rows_of]
            if not numbers:
                raise ProbeError(
                    f"{folder}: holds no clip of task {self.listed.task.name} in the split "
                    f"{self.options.split}; run svuprobe extract again"
                )
            rows = Rows.of_clips(cache, [self.clips[n] for n in numbers])
            several = len(rows.row)
            chosen = np.arange(several)
            if several > MOST_POINTS:
                # The same of every model, whose windows are the same.
                rng = np.random.default_rng(self.options.seed)
                chosen = np.sort(rng.choice(several, MOST_POINTS, replace=False))
            layer, words = self._layer(cache)
            at = cache.header.layer_names.index(layer)
            features = [cache.read(int(row))[0, at] for row in rows.row[chosen]]
            projection = self._project(folder, np.stack(features).astype(np.float32))
            header = cache.header
            points = scatter.Points(
                self._name(header.model), words, projection, np.array(numbers)[rows.clip[chosen]]
            )
            about = {"model": header.model, "revision": header.revision, "layer": layer}
            return _Read(points, about, cache.window[rows.row[chosen]], several)

    def _project(self, folder: Path, features: np.ndarray) -> Projection:
        try:
            return project(features, self.options.method, self.options.seed)
        except ProbeError as error:
            raise ProbeError(f"{folder}: {error}") from None

    def _layer(self, cache: FeatureCache) -> tuple[str, str]:
        """Return the layer to show, and why it is that."""
        names = cache.header.layer_names
        if self.options.layer:
            # By its name, or the number that stands at axes of layers.
            for name, tick in zip(names, style.layer_ticks(names), strict=True):
                if self.options.layer in (name, tick):
                    return name, f"layer {tick}"
            raise ProbeError(
                f"{cache.header.model}: has no layer {self.options.layer!r}; "
                f"{did_you_mean(self.options.layer, names)}"
            )
        best = self._best_layer(cache)
        layer = best or names[-1]
        if len(names) == 1:
            return layer, "the only layer"
        tick = style.layer_ticks(names)[names.index(layer)]
        return layer, f"layer {tick} ({'best on validation' if best else 'the last'})"

    def _best_layer(self, cache: FeatureCache) -> str:
        """Return the layer that is best on validation; empty where no result says it."""
        if self.results is None:
            return ""
        folder = self.results / cache.directory.parent.name / self.listed.folder
        # The default protocol first, then those that were changed, by name.
        paths = sorted(folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem))
        default = folder / f"{Protocol().file_name}.json"
        for path in sorted(paths, key=lambda path: path != default):
            if path.name.startswith("."):
                continue
            try:
                result = result_file.load(path)
            except ProbeError as error:  # one bad file holds up no map
                self.reporter.say(f"{error}: left out of what says the best layer")
                continue
            # With shuffled labels the best layer is chance's.
            if result.protocol.shuffle_labels:
                continue
            if result.best_layer in cache.header.layer_names:
                return result.best_layer
        return ""

    def _name(self, model: str) -> str:
        """Return what a model is called in the picture."""
        name = self.options.names.get(model) or without_folders(model)
        return picture(name) + " (control)" * is_control(model)


def _save(shown: Sequence[_Read], reader: _Reader, stem: Path, one_file: bool) -> list[Path]:
    """Draw and write a picture of all models."""
    options, listed = reader.options, reader.listed
    synthetic = ", synthetic audio" if listed.synthetic else ""
    split = _SPLIT_WORDS.get(options.split, options.split)
    title = f"{picture(listed.task.name)}: {_WORDS[options.method]} of {split} windows{synthetic}"
    several = max(one.several for one in shown)
    points = max(len(one.window) for one in shown)
    note = f"A point is one of {points:,} windows"
    if points < several:
        note = (
            f"A point is one of {points:,} windows drawn from {several:,} by chance, "
            f"seed {options.seed}"
        )
    note += "; each feature is standardised over them."
    if options.method == "tsne":
        note += " t-SNE keeps neighbours together; distances between groups mean nothing."
    picture_of = scatter.Map([one.points for one in shown], reader.colourings, title, note)
    return saving.save(
        lambda figure: scatter.draw(figure, picture_of),
        stem,
        _rows(shown, reader),
        one_file=one_file,
    )


def _rows(shown: Sequence[_Read], reader: _Reader) -> list[dict[str, Any]]:
    """Return the lines of the CSV: one for each point, with what it is coloured by."""
    rows: list[dict[str, Any]] = []
    for one in shown:
        places = one.points.projection.places
        for n, (number, window) in enumerate(zip(one.points.clip, one.window, strict=True)):
            clip = reader.clips[number]
            row = one.about | {"clip_id": clip.id, "window": int(window), "split": clip.split}
            row |= {"x": float(places[n, 0]), "y": float(places[n, 1])}
            for colouring in reader.colourings:
                value = colouring.values[number].item()
                column = colouring.title or "label"
                row[column] = colouring.classes[value] if colouring.classes else value
            rows.append(row)
    return rows
