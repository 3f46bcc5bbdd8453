"""Bring datasets to the disk: synthetic copies, downloads, and whether all is there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from svuprobe._machine import MOST_SEED, check_whole
from svuprobe._progress import SILENT, Reporter
from svuprobe._show import shown
from svuprobe.api.arguments import local_path, task_name, task_names
from svuprobe.tasks import Task, TaskError, find_clips, is_synthetic, kinds, load
from svuprobe.tasks.datasets import embedded_folder
from svuprobe.tasks.folds import names
from svuprobe.tasks.manifest import ClipList, listed
from svuprobe.tasks.synth import CORPORA
from svuprobe.tasks.types import SPLITS


@dataclass(frozen=True, init=False)
class Data:
    """Say where datasets are: one folder that holds them all, and single ones elsewhere.

    Attributes
    ----------
    root
        The folder that holds them all.
    elsewhere
        Folders of single datasets, by the dataset's name.
    """

    root: Path
    elsewhere: dict[str, Path]

    __repr__ = shown

    def __init__(self, root: str | Path, elsewhere: Mapping[str, str | Path] | None = None) -> None:
        folders = {dataset: Path(folder) for dataset, folder in (elsewhere or {}).items()}
        # A frozen object is filled here alone.
        object.__setattr__(self, "root", Path(root))
        object.__setattr__(self, "elsewhere", folders)

    def folder(self, dataset: str) -> Path:
        """Return the folder of a dataset; in the package if it comes with svuprobe."""
        if dataset in self.elsewhere:
            return self.elsewhere[dataset]
        # What a user names comes first, also where a copy comes with svuprobe.
        return embedded_folder(dataset) or self.root / dataset

    @classmethod
    def of(cls, place: Data | str | Path) -> Data:
        """Return where datasets are, from that or from the folder that holds them all."""
        return place if isinstance(place, Data) else cls(Path(place))


def load_task(task: str | Path) -> Task:
    """Load a task: what is asked of which dataset, and how its clips are cut and scored.

    Parameters
    ----------
    task
        Its name, or of one on data of one's own the TOML file or ``folder:PATH``.

    Returns
    -------
    Task
        ``task.clips(folder)`` lists the clips of a dataset's folder.

    Raises
    ------
    TaskError
        There is no such task, or the file or folder describes none.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.load_task("technique").metrics[0]
    'accuracy'
    """
    return load(task_name(task))


def synth(
    tasks: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    clips: int | None = None,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> list[Path]:
    """Write a synthetic copy of each task's dataset in its official layout.

    Parameters
    ----------
    tasks
        Names of tasks that have synthetic data; tasks on one dataset share its copy.
    out
        Folder that holds the datasets.
    clips
        About how many recordings each dataset gets; None for its own number.
    seed
        Of everything that is drawn: the same seed writes the same bytes.
    reporter
        Is told each dataset, and shows a bar of its recordings.

    Returns
    -------
    list of Path
        The folder of each dataset.

    Raises
    ------
    TaskError
        A task is unknown or has no synthetic data, or a folder holds other data.
    OptionError
        The seed is no whole number from 0 on.

    Example
    -------
    >>> import svuprobe
    >>> folders = svuprobe.synth(["technique"], "data", clips=60)
    >>> folders[0].name
    'vocalset'
    """
    check_whole("seed", seed, 0, MOST_SEED)
    datasets = _datasets_of(task_names(tasks), "of which there is no synthetic copy")
    written = []
    for dataset in datasets:
        if embedded_folder(dataset):
            raise TaskError(
                f"{dataset} comes with svuprobe: its tasks need no synthetic copy, and no --data"
            )
        if dataset not in CORPORA:
            raise TaskError(f"no synthetic {dataset}; there are {', '.join(CORPORA)}")
        # Imported by name: one corpus needs no other's synthesiser.
        module, function = CORPORA[dataset].split(":")
        folder = local_path(out) / dataset
        getattr(importlib.import_module(module), function)(folder, clips, seed, reporter)
        reporter.say(f"{dataset}: synthetic, seed {seed}, in {folder}")
        written.append(folder)
    return written


def check(
    task: str | Path,
    data: Data | str | Path,
    *,
    thorough: bool = False,
    reporter: Reporter = SILENT,
) -> bool:
    """Say what there is of a task's dataset and what is wrong with it; return whether it is whole.

    Parameters
    ----------
    task
        A task's name, or of one on data of one's own the TOML file or ``folder:PATH``. Of these it
        is said what was understood, and which recordings stand on two sides of a split.
    data
        The folder that holds the datasets, or a `Data`.
    thorough
        Compare the checksums of a synthetic copy too.
    reporter
        Is told the report line by line.

    Returns
    -------
    bool
        False where anything is missing, damaged or contradictory.

    Raises
    ------
    TaskError
        The task is unknown, or the files that describe its clips can't be read.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.check("technique", "data", thorough=True)
    True
    """
    from joblib import cpu_count

    from svuprobe.extractors.audio import Decoders
    from svuprobe.tasks.data import check as checking

    loaded = load(task_name(task))
    root = Data.of(data).folder(loaded.dataset)
    # A task on data of one's own names each file, wherever it is.
    if not loaded.source and not root.is_dir():
        for line in checking.absent(loaded, root):
            reporter.say(line)
        return False
    # Heads of files take little work: a few processes are enough.
    with Decoders(min(int(cpu_count()), 8)) as decoders:
        clips = find_clips(loaded, root)
        report = checking.check(loaded, root, clips, decoders.heads, reporter, thorough=thorough)
    for line in report.lines():
        reporter.say(line)
    return report.ok


def prepare(
    tasks: str | Path | Sequence[str | Path],
    data: Data | str | Path,
    *,
    reporter: Reporter = SILENT,
) -> None:
    """Download and unpack what may be downloaded of each task's dataset.

    Parameters
    ----------
    tasks
        Names of tasks; a dataset of several is downloaded once.
    data
        The folder that holds the datasets, or a `Data`.
    reporter
        Is told licences, checksums and what is left to do; shows a bar of each download.

    Returns
    -------
    None
        What was downloaded lies in the folders of the datasets.

    Raises
    ------
    TaskError
        A dataset may not be downloaded without asking, its folder holds other data, or a server
        gave up.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.prepare(["genre"], "data")  # doctest: +SKIP
    """
    from svuprobe.tasks.data.prepare import prepare as prepare_dataset

    for dataset in _datasets_of(task_names(tasks), "which nothing has to be downloaded for"):
        prepare_dataset(dataset, Data.of(data).folder(dataset), reporter=reporter)


def clips_of(name: str, data: Data, reporter: Reporter) -> ClipList:
    """Return a task's clips as they are on disk, and say how many there are and what looks odd in
    them.
    """
    from svuprobe.tasks.data.doubts import doubts
    from svuprobe.tasks.own.statement import sentences

    task = load(name)
    root = data.folder(task.dataset)
    clips = listed(task, find_clips(task, root), not task.source and is_synthetic(root))
    reporter.say(f"{task.name}: {_counted(task, clips)}{' (synthetic)' if clips.synthetic else ''}")
    if task.source:
        # What is in the folder or the list was found, not told: it is said before work starts.
        for sentence in sentences(task, clips.clips):
            reporter.say(f"{task.name}: {sentence}")
    for doubt in doubts(task, clips.clips):
        reporter.say(f"{task.name}: {doubt}")
    return clips


def _counted(task: Task, listed: ClipList) -> str:
    """Return the number of clips, by split or fold, and of notes or beats."""
    per_split = dict.fromkeys(SPLITS, 0)
    for clip in listed.clips:
        per_split[clip.split] += 1
    splits = ", ".join(f"{number} {split}" for split, number in per_split.items())
    if folds := names(listed.clips):
        splits = f"in {len(folds)} folds"
    events = ""
    kind = kinds.of(task)
    if kind.level == "frame":
        events = f", {sum(len(clip.target) for clip in listed.clips)} {kind.events_name}"
    return f"{len(listed.clips)} clips ({splits}){events}"


def _datasets_of(tasks: Sequence[str], own: str) -> list[str]:
    """Return the datasets of tasks, each once, in the order in which they were asked for.

    Raises TaskError for a task on the user's own data; ``own`` says what that means here.
    """
    datasets: dict[str, None] = {}
    for task in map(load, tasks):
        if task.source:
            raise TaskError(f"{task.source}: your own data, {own}")
        datasets[task.dataset] = None
    return list(datasets)
