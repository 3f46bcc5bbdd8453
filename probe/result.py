"""The result of one model on one task under one protocol: a JSON file and the predictions beside it.

``RESULTS/<model>@<revision8>/<task>[.synthetic]/<protocol>.json``, with ``<protocol>.npz``: everything that a
table, a plot or a test of significance needs. Written whole or not at all; unknown keys are refused on load.

Keys
----
schema
    Version of this layout.
task
    ``name``, ``version``, ``kind``, ``dataset``, ``synthetic``, ``ranked`` (metric), ``labels``, ``licence``,
    ``reference``, ``splits`` (clips per split), ``scored`` (windows or clips), ``split_sha256`` (of every clip's
    id, split and group) and ``target_sha256`` (of every clip's id and target).
model
    ``name``, ``revision``, ``digest`` (of the weights), ``parameters``, ``layer_names``, ``dim``,
    ``sample_rate`` and ``frame_rate`` in Hz, ``normalization``, ``dtype``, ``control`` (random weights or
    hand-made); of a network that was trained end to end ``finetune``, see `svuprobe.probe.finetune`, and of a
    supervised baseline its ``recipe``.
protocol
    ``name``, ``hash`` and ``fields``, every one of them.
scores
    Metric -> ``per_seed``, ``mean``, ``std`` (over seeds, n - 1) and ``ci95`` (over the groups of the test split,
    null with too few, see `svuprobe.probe.stats`) of the ranked head: the weighted sum at its selected learning rate,
    or under a protocol that selects the ``best`` perhaps a single layer.
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
counts, timings, environment, date
    Windows, clips and groups per split, ``missing`` clips, ``undefined`` labels (no positive or no negative in the
    test split: left out of the mean over tags); seconds; versions, device and, of a probe, ``products`` (what the
    products of its training were rounded to; scores are always of float32); UTC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe._files import write_text
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.types import Clip

SCHEMA = 2


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
    schema: int = SCHEMA

    @property
    def ranked(self) -> dict[str, Any]:
        """Scores of the ranked metric."""
        return self.scores[self.task["ranked"]]

    def path(self, results: Path, model_folder: str, protocol_file: str) -> Path:
        """Where this result belongs."""
        task = f"{self.task['name']}{'.synthetic' if self.task['synthetic'] else ''}"
        return results / model_folder / task / f"{protocol_file}.json"


def save(result: Result, path: Path, predictions: dict[str, np.ndarray]) -> None:
    """Write the predictions, then the JSON, each in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **predictions)  # type: ignore[arg-type]
    temporary.replace(path.with_suffix(".npz"))
    write_text(path, json.dumps(_finite(asdict(result)), indent=1) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def load(path: Path) -> Result:
    """Read a result; a file of another schema, or with unknown or missing keys, raises ProbeError."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProbeError(f"{path}: not JSON ({error}); delete it and run svuprobe probe again") from None
    names = {f.name for f in fields(Result)}
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        raise ProbeError(f"{path}: not a result of schema {SCHEMA}; run svuprobe probe again")
    wrong = sorted(names ^ set(body))
    if wrong:
        raise ProbeError(f"{path}: unknown or missing key {wrong[0]!r}; run svuprobe probe again")
    return Result(**body)


def load_all(results: Path) -> list[Result]:
    """Every result under a folder, in the order of their paths."""
    if not results.is_dir():
        raise ProbeError(f"{results}: no such folder of results; run svuprobe probe, or give --results")
    return [load(path) for path in sorted(results.glob("*/*/*.json"))]


def digests(clips: Sequence[Clip]) -> dict[str, str]:
    """``split_sha256`` and ``target_sha256`` of a task's clips, whatever their order."""

    def over(lines: list[str]) -> str:
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    return {
        "split_sha256": over([f"{c.id}\t{c.split}\t{c.group}" for c in clips]),
        "target_sha256": over([f"{c.id}\t{json.dumps(c.target)}" for c in clips]),
    }
