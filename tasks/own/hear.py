"""Read a task folder of HEAR, as hear-preprocess writes it.

``task_metadata.json`` says what the task is, ``labelvocabulary.csv`` lists its labels,
``<split>.json`` maps each recording to its labels, and the recordings lie in
``<rate>/<split>/``. Splits are train, valid and test, or folds (fold00, fold01, ...), and then the
task is cross-validated. Of several sampling rates the highest is taken: models resample.

Scores follow HEAR where this toolkit has the metric: accuracy for ``top1_acc`` (and for
``pitch_acc``), mean average precision for ``mAP``, macro ROC-AUC for ``aucroc``. Tasks of events
(``embedding_type`` "event": DCASE 2016 task 2, MAESTRO) are refused: no kind holds labelled events
of several voices.

References
----------
Turian et al., "HEAR: Holistic evaluation of audio representations", PMLR 2022;
github.com/hearbenchmark/hear-preprocess.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.base import Kind
from svuprobe.tasks.kinds.clips import ClipKind
from svuprobe.tasks.own import tables
from svuprobe.tasks.own.keys import KEYS
from svuprobe.tasks.own.listing import Listing, Row
from svuprobe.tasks.sheets import normal, read_text
from svuprobe.tasks.types import SPLITS, TaskError

METADATA = "task_metadata.json"
_VOCABULARY = "labelvocabulary.csv"
_NEEDED_BY = f"a HEAR task has it beside {METADATA}"
# HEAR's names of metrics -> ours; d_prime and chroma_acc have no counterpart here.
_METRICS = {
    "top1_acc": "accuracy",
    "pitch_acc": "accuracy",
    "mAP": "ap",
    "aucroc": "roc_auc",
}
_NEEDED = ("embedding_type", "prediction_type", "split_mode")


def read(folder: Path) -> Listing:
    """Read a task folder.

    Raises
    ------
    TaskError
        A file is missing or damaged, a recording is not there, or the task is one of events; names
        the file and the recording.
    """
    metadata = _metadata(folder / METADATA)
    labels = [label for label in tables.labels_of(folder / _VOCABULARY, "label") if label]
    parts = _splits(folder, metadata)
    audio = _audio(folder, parts)
    rows = []
    for part in parts:
        rows += _rows(folder, part, audio, kinds.named(metadata["prediction_type"]), set(labels))
    says: dict[str, Any] = {"kind": metadata["prediction_type"], "targets": labels}
    seconds = metadata.get("sample_duration")
    if seconds is not None:  # else recordings differ in length
        rule = KEYS["window_s"]
        if type(seconds) not in rule.types or not rule.allowed(seconds):
            raise TaskError(
                f"{folder / METADATA}: sample_duration = {ascii(seconds)[:40]}; it is {rule.rule}"
            )
        says["window_s"] = float(seconds)
    notes = []
    asked = metadata.get("evaluation")
    asked = asked if isinstance(asked, list) else []
    # HEAR ranks by the first of them.
    there = kinds.named(says["kind"]).metrics_of(labels)
    ours = [_METRICS[name] for name in asked if _METRICS.get(str(name)) in there]
    if ours:
        says["metric"] = ours[0]
    if asked and (not ours or asked[0] not in _METRICS):
        notes.append(f"HEAR ranks this task by {ascii(asked[0])[:40]}, which is not computed here")
    return Listing(
        f"a HEAR task ({metadata['split_mode']}, recordings at {audio.name} Hz)",
        folder,
        folder,
        rows,
        says=says,
        notes=tuple(notes),
    )


def _metadata(path: Path) -> dict[str, Any]:
    body = tables.parsed(str(path), read_text(path, "a HEAR task has one", "JSON"))
    if not isinstance(body, dict):
        raise TaskError(f"{path}: is no object; it is what hear-preprocess writes")
    for key in _NEEDED:
        if not isinstance(body.get(key), str):
            raise TaskError(f"{path}: {key} is missing or no text; hear-preprocess writes it")
    if body["embedding_type"] != "scene":
        raise TaskError(
            f"{path}: embedding_type = {body['embedding_type']!r}: events with labels, of several "
            "at a time, are no kind of task here; scene tasks are"
        )
    known = []
    for name in kinds.TABLE:
        kind = kinds.named(name)
        if isinstance(kind, ClipKind) and kind.has_classes:
            known.append(name)
    if body["prediction_type"] not in known:
        raise TaskError(
            f"{path}: prediction_type = {body['prediction_type']!r}; it is one of "
            f"{', '.join(known)}"
        )
    return body


def _splits(folder: Path, metadata: dict[str, Any]) -> list[str]:
    """Return the names of the splits or folds, each of which has a JSON file."""
    if metadata["split_mode"] == "trainvaltest":
        return list(SPLITS)
    parts = []
    for path in sorted(folder.glob("fold*.json")):
        if re.fullmatch(r"fold\d+", path.stem):
            parts.append(path.stem)
    if len(parts) < 2:
        raise TaskError(
            f"{folder / METADATA}: split_mode = {metadata['split_mode']!r}, and {len(parts)} files "
            f"fold00.json, fold01.json, ... in {folder}"
        )
    n_folds = metadata.get("nfolds", len(parts))
    if n_folds != len(parts):
        raise TaskError(
            f"{folder / METADATA}: nfolds = {ascii(n_folds)[:20]}, and {len(parts)} files "
            f"fold00.json, fold01.json, ... in {folder}"
        )
    return parts


def _audio(folder: Path, parts: list[str]) -> Path:
    """Return the folder of the highest sampling rate at which all splits are there."""
    rates = [path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    whole = [rate for rate in rates if all((rate / part).is_dir() for part in parts)]
    if not whole:
        raise TaskError(
            f"{folder}: no folder RATE/{parts[0]} with the recordings, as 48000/{parts[0]}"
        )
    return max(whole, key=lambda rate: int(rate.name))


def _rows(folder: Path, part: str, audio: Path, kind: Kind, labels: set[str]) -> list[Row]:
    """Return the recordings of a split or fold with their labels."""
    path = folder / f"{part}.json"
    body = tables.parsed(str(path), read_text(path, _NEEDED_BY, "JSON"))
    if not isinstance(body, dict):
        raise TaskError(f"{path}: is no object of recordings with their labels")
    rows = []
    for name, values in body.items():
        where = f"{path}: {name[:80]!r}"
        carried = []
        for value in values if isinstance(values, list) else [values]:
            label = normal(str(value)) if isinstance(value, (str, int, float)) else ""
            if label not in labels:
                raise TaskError(f"{where}: label {ascii(value)[:60]} is not in {_VOCABULARY}")
            carried.append(label)
        recording = audio / part / name
        # (Unlike Path's, it is false for a name that no file can have.)
        if not os.path.isfile(recording):
            raise TaskError(f"{where}: no such file in {recording.parent}")
        assert isinstance(kind, ClipKind)
        target = kind.cell_of(where, carried) if carried else ""
        cells = {"path": recording.relative_to(folder).as_posix(), "target": target}
        # The same name whatever the rate, so that a task has the same clips at all of them.
        cells["id"] = cells["group"] = f"{part}/{name}"
        cells["split" if part in SPLITS else "fold"] = part
        rows.append(Row(where, cells))
    return rows
