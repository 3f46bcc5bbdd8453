"""Own data through the whole chain: every kind, with and without declared labels, those that never
occur too.
"""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from planted import write_task

from svuprobe import api
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import kinds
from svuprobe.tasks.types import SPLITS

TARGETS = {
    "multiclass": ("a", "b"),
    "multilabel": ("a", "a|b"),
    "regression": ("0.5|2", "-1|1"),
    "notes": ("low.csv", "high.csv"),
    "beats": ("slow.txt", "fast.txt"),
    "melody": ("contour.csv", "silence.csv"),
    "chords": ("minor.lab", "none.lab"),
    "segments": ("ab.lab", "b.lab"),
    "structure": ("ab.lab", "b.lab"),
    "sequence": ("ab", "b"),
}
DECLARED = {
    "multiclass": (["a", "b"], ["never", "a", "b"], ["a", "b", "never", "nor"]),
    "multilabel": (["a", "b"], ["never", "a", "b"]),
    "regression": (["valence", "arousal"],),
    "notes": (),
    "beats": (),
    "melody": (),
    "chords": (),
    "segments": (["a", "b", "never"],),
    "structure": (["a", "b", "never"],),
    "sequence": (),
}
CASES = [(kind, names) for kind in kinds.TABLE for names in (None, *DECLARED[kind])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for n, rate in enumerate([300, 600] * 6):
        soundfile.write(
            folder / f"{n}.wav", 0.3 * np.sin(2 * np.pi * rate * np.arange(16000) / 16000), 16000
        )
    files = {
        "low.csv": "0.1,0.5,50\n",
        "high.csv": "0.2,0.9,70\n",
        "slow.txt": "0.2\n0.8\n",
        "fast.txt": "0.1\n0.3\n",
        "contour.csv": "0.0,300\n0.5,600\n0.51,0\n",
        "silence.csv": "0.0,0\n0.9,0\n",
        "minor.lab": "0 0.5 A:min\n0.5 1 E:sus4\n",
        "none.lab": "0 1 N\n",
        "ab.lab": "0 0.5 a\n0.5 1 b\n",
        "b.lab": "0 1 b\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("kind", "names"), CASES)
def test_every_kind_is_probed_whatever_labels_are_declared(folder, kind, names):
    rows = [
        {
            "path": f"{n}.wav",
            "target": TARGETS[kind][n % 2],
            "split": SPLITS[n // 2 % 3],
            "group": f"g{n}",
        }
        for n in range(12)
    ]
    name = f"{kind}{len(names or ())}{CASES.index((kind, names))}"
    toml = str(write_task(folder, name, kind, rows, **({"targets": names} if names else {})))
    api.extract(
        [toml],
        ["logmel"],
        data=folder,
        features=folder / "features",
        options=api.RunOptions(jobs=0),
    )
    protocol = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1, max_epochs=2)
    (done,) = api.probe(
        [toml], features=folder / "features", results=folder / "results", protocol=protocol
    )
    each = ["r2_valence", "r2_arousal"] if kind == "regression" and names else []
    # Of the whole split, not of a clip.
    scores = [name for name in done.result.scores if not name.endswith("_pooled")]
    more = {"rmse", "pearson", "spearman"} if kind == "regression" else set()
    more |= {"word_error_rate"} if kind == "sequence" else set()
    # Among two or three classes these are always right.
    always = {f"top{k}" for k in (2, 3) if k >= len(names or ("a", "b"))}
    assert set(scores) == {*kinds.named(kind).metrics, *each, *more} - always
    if kind in ("multiclass", "multilabel", "segments", "structure"):
        assert done.result.task.labels == tuple(sorted(names or ["a", "b"]))
