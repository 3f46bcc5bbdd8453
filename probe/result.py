"""The result of one model on one task under one protocol: a JSON file, and beside it predictions and heads.

``RESULTS/<model>@<revision8>/<task>[.synthetic]/<protocol>.json``, with ``<protocol>.npz``: everything that a
table, a plot or a test of significance needs; and ``<protocol>.safetensors``, the heads (`svuprobe.probe.trained`).
They appear together or not at all: the JSON comes last, goes first when it is replaced, and knows the checksums of
the others. Unknown keys are refused on load.

Keys
----
schema
    Version of this layout.
task
    ``name``, ``version``, ``kind``, ``dataset``, ``synthetic``, ``ranked`` (metric), ``labels``, ``licence``,
    ``reference``, ``splits`` (clips per split), ``scored`` (windows or clips), ``split_sha256`` (of every clip's
    id, split and group) and ``target_sha256`` (of every clip's id and target), ``windowing`` (as in the cache's
    name), ``class_weight_alpha``.
model
    ``name``, ``revision``, ``digest`` (of the weights), ``parameters``, ``layer_names``, ``dim``,
    ``sample_rate`` and ``frame_rate`` in Hz, ``normalization``, ``dtype``, ``control`` (random weights or
    hand-made); of a network that was trained end to end ``finetune``, see `svuprobe.probe.finetune.run`, and of a
    supervised baseline its ``recipe``.
protocol
    ``name``, ``hash`` and ``fields``, every one of them.
scores
    Metric -> ``per_seed``, ``mean``, ``std`` (over seeds, n - 1; null with one seed) and ``ci95`` (over the groups of
    the test split, null with too few, see `svuprobe.probe.stats.intervals`) of the ranked head: the weighted sum at
    its selected learning rate, or under a protocol that selects the ``best`` perhaps a single layer.
chance
    Metric -> score of guessing from the training set alone (classes drawn with their frequencies, a constant
    prediction, no note at all).
layer_weights
    Of the weighted sum, whatever is ranked: ``softmax`` per seed, ``times_rms`` (weight times the layer's RMS as the
    head sees it, normalised) per seed, ``entropy`` of the weights per seed in nats (the logarithm of the number of
    layers where all weigh the same), and the ``rms`` of each layer over the training set.
layer_curve, layer_ci95
    Ranked metric on test of each single layer, per seed: ``{layer name: [...]}``, and its interval over groups as in
    ``scores``.
layer_drop
    What the weighted sum loses of the ranked metric on test when one layer is left out and the other weights are
    scaled up to 1, with nothing trained again, per seed: ``{layer name: [...]}`` of the layers it sums.
selected
    ``layer`` (``sum`` or a layer's name), learning rate and validation score of the ranked head (``head``), and of
    each single layer (``layers``).
identity
    Digests of everything that determines the result, and ``digest`` over them (`svuprobe.probe.identity`).
files
    SHA-256 of what belongs to the JSON: ``.npz`` and ``.safetensors`` beside it, or ``/seed<n>.safetensors`` of a
    fine-tuned model in the folder of its name.
caveats
    Sentences that belong beside the scores: classes without a training clip, tags that are not scored.
counts, timings, environment, date
    Windows, clips and groups per split, ``missing`` clips and their ids (``missing_clips``), ``undefined`` labels (no
    positive or no negative in the test split: left out of the mean over tags); seconds; versions, device and, of a
    probe, ``products`` (what the products of its training were rounded to; scores are always of float32); UTC.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe import _files
from svuprobe._errors import UserError
from svuprobe._files import clear_abandoned, refuse_special, sha256_of, sync, temporary_for, writing
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.result_shape import wrong_shape
from svuprobe.tasks.types import Clip

SCHEMA = 3
# Keys of ``task`` beside name, version, split and targets in which results have to agree to stand in one table.
SCORED_ALIKE = ("windowing", "scored", "class_weight_alpha")
Write = Callable[[Path], object]
Entry = tuple["Result", Path]


@dataclass(frozen=True)
class Result:
    """One result; the module says what each key holds."""

    task: dict[str, Any]
    model: dict[str, Any]
    protocol: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    chance: dict[str, float]
    layer_weights: dict[str, Any]
    layer_curve: dict[str, list[float]]
    selected: dict[str, Any]
    counts: dict[str, Any]
    timings: dict[str, float]
    environment: dict[str, str]
    date: str
    layer_ci95: dict[str, Any] = field(default_factory=dict)
    layer_drop: dict[str, list[float]] = field(default_factory=dict)
    identity: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    caveats: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def ranked(self) -> dict[str, Any]:
        """Scores of the ranked metric."""
        return self.scores[self.task["ranked"]]


# -- writing ------------------------------------------------------------------------------------------------


def save(result: Result, path: Path, predictions: dict[str, np.ndarray], heads: Write | None = None) -> Result:
    """Write a result with what belongs to it, so that a reader finds all of it, of one run, or none.

    Everything is whole and durable under temporary names first. Then the old JSON goes, the others take their
    places, and the JSON comes last.

    Parameters
    ----------
    heads
        Writes the trained heads to the path it is given; None where they are kept elsewhere.

    Returns
    -------
    The result as it was written, with ``files``.

    Raises
    ------
    FileError
        The system refuses to write; what was there before is there still.
    """
    writers: dict[str, Write] = {".npz": lambda where: _write_predictions(where, predictions)}
    if heads is not None:
        writers[".safetensors"] = heads
    with writing(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        places = {suffix: path.with_suffix(suffix) for suffix in (*writers, ".json")}
        temporary = {}
        for suffix, place in places.items():
            refuse_special(place)
            clear_abandoned(place)
            temporary[suffix] = temporary_for(place)
            stack.callback(temporary[suffix].unlink, missing_ok=True)
        for suffix, write in writers.items():
            write(temporary[suffix])
            sync(temporary[suffix])
        checksums = {suffix: sha256_of(temporary[suffix]) for suffix in writers}
        written = asdict(result) | {"files": result.files | checksums}
        body = json.loads(json.dumps(_finite(written)))
        if reason := wrong_shape(body):
            raise ValueError(f"a result that could not be read again: {reason}")
        text = json.dumps(body, indent=1) + "\n"
        temporary[".json"].write_text(text, encoding="utf-8")
        sync(temporary[".json"])
        path.unlink(missing_ok=True)
        for suffix in (*writers, ".json"):
            os.replace(temporary[suffix], places[suffix])
        sync(path.parent)
    return Result(**written)


def sweep(path: Path) -> None:
    """Delete what killed processes left of a result: temporary files, and a lock that nobody holds."""
    for suffix in (".json", ".npz", ".safetensors"):
        _files.sweep(path.with_suffix(suffix))


def remove(path: Path) -> None:
    """Delete a result, its JSON first, and what lies beside it."""
    with writing(path):
        for suffix in (".json", ".npz", ".safetensors"):
            path.with_suffix(suffix).unlink(missing_ok=True)


def _write_predictions(where: Path, predictions: dict[str, np.ndarray]) -> None:
    with where.open("wb") as file:  # by its handle: numpy would add a suffix to a name
        np.savez_compressed(file, **predictions)  # type: ignore[arg-type]


def _finite(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


# -- reading ------------------------------------------------------------------------------------------------


def load(path: Path) -> Result:
    """Read a result.

    Raises ProbeError, naming the file and what is wrong, for one that can't be read, is of another schema, or has
    unknown, missing or misshapen keys.
    """
    again = "delete it and run svuprobe probe again"
    try:
        body = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ProbeError(f"{path}: can't be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{path}: not JSON ({error}); {again}") from None
    names = {f.name for f in fields(Result)}
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        raise ProbeError(f"{path}: not a result of schema {SCHEMA}; run svuprobe probe again")
    wrong = sorted(names ^ set(body))
    if wrong:
        raise ProbeError(f"{path}: unknown or missing key {wrong[0]!r}; {again}")
    if reason := wrong_shape(body):
        raise ProbeError(f"{path}: {reason}; {again}")
    return Result(**body)


def paths(results: Path) -> list[Path]:
    """The JSON files of a folder of results, sorted; hidden files, such as macOS leaves, are none."""
    if not results.is_dir():
        raise ProbeError(f"{results}: no such folder of results; run svuprobe probe, or give --results")
    return sorted(path for path in results.glob("*/*/*.json") if not path.name.startswith("."))


def read_all(results: Path) -> tuple[list[Entry], list[str]]:
    """Every result under a folder with its path, in the order of their paths, and a line for each that is none.

    Raises ProbeError where there is no such folder. One bad file keeps no other from being read.
    """
    entries: list[Entry] = []
    problems = []
    for path in paths(results):
        try:
            entries.append((load(path), path))
        except UserError as error:
            problems.append(str(error))
    return entries, problems


def predictions_of(result: Result, path: Path) -> dict[str, np.ndarray]:
    """The predictions beside a result's JSON at ``path``, every array.

    Raises ProbeError where they are missing, damaged, or not those that were written with the JSON.
    """
    beside = belonging(path, ".npz")
    again = "make both again with svuprobe probe --overwrite"
    require_unchanged(result, path, ".npz")
    try:
        with np.load(beside, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ProbeError(f"{beside}: damaged ({error}); {again}") from None


def belonging(path: Path, suffix: str) -> Path:
    """The file of a key of ``files``: ``.npz`` beside the JSON, ``/seed0.safetensors`` in the folder of its name."""
    return Path(f"{path.with_suffix('')}{suffix}")


def require_unchanged(result: Result, path: Path, suffix: str) -> None:
    """Raise ProbeError unless the file of a key of ``files`` is the one that was written with the JSON."""
    beside = belonging(path, suffix)
    again = "make both again with svuprobe probe --overwrite"
    try:
        found = sha256_of(beside)
    except FileNotFoundError:
        raise ProbeError(f"{beside}: is not there beside {path.name}; {again}") from None
    except OSError as error:
        raise ProbeError(f"{beside}: can't be read ({error.strerror or error})") from None
    if found != result.files.get(suffix):
        raise ProbeError(f"{beside}: is not what was written with {path.name}; {again}")


def digests(clips: Sequence[Clip]) -> dict[str, str]:
    """``split_sha256`` and ``target_sha256`` of a task's clips, whatever their order."""

    def over(lines: list[str]) -> str:
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    return {
        "split_sha256": over([f"{c.id}\t{c.split}\t{c.group}" for c in clips]),
        "target_sha256": over([f"{c.id}\t{json.dumps(c.target)}" for c in clips]),
    }
