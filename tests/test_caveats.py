"""What limits a score is said beside it; what nothing can choose is refused before it is trained."""

import numpy as np
import pytest
from planted import header, write_cache, write_task
from test_probe import features_of

from svuprobe import api
from svuprobe.probe.caveats import caveats, require_selection
from svuprobe.probe.data import ClipFeatures
from svuprobe.probe.frames import FrameFeatures
from svuprobe.probe.protocol import ProbeError, Protocol


def _write_times(folder):
    (folder / "full.notes").write_text("onset_s,offset_s,midi\n0.1,0.5,60\n0.6,1.1,64\n")
    (folder / "none.notes").write_text("onset_s,offset_s,midi\n")
    (folder / "full.beats").write_text("0.2\n0.7\n1.2\n")
    (folder / "none.beats").write_text("")


def task_of(tmp_path, kind, **targets):
    """Features of a task with some targets in each split, one clip each."""
    _write_times(tmp_path)
    rows = []
    for split, values in targets.items():
        for n, value in enumerate(values):
            target = f"{value}.{kind}" if kind in ("notes", "beats") else value
            rows.append({"path": f"{split}{n}.wav", "target": target, "split": split, "group": f"{split}{n}"})
    toml = write_task(tmp_path, "some", kind, rows)
    task = api.load_task(str(toml))
    frames = 60 if task.level == "frame" else 1
    rng = np.random.default_rng(0)
    states = {c.id: [rng.normal(size=(frames, 2, 4))] for c in task.clips(tmp_path)}
    write_cache(tmp_path / "f", header(task, layers=2, dim=4), states)
    protocol = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1)
    features, cache = features_of(tmp_path, toml, protocol, FrameFeatures if frames > 1 else ClipFeatures)
    cache.close()
    return features


CASES = [
    ("multiclass", {"train": "aabb", "valid": "ab", "test": "ab"}, []),
    (
        "multiclass",
        {"train": "aabb", "valid": "abc", "test": "abcc"},
        ["class 'c' has no training clip: 2 of 4 test clips can't be right"],
    ),
    (
        "multiclass",
        {"train": "abcd", "valid": "ab", "test": "abc"},
        ["classes 'c', 'd' have no validation clip", "class 'd' has no test clip"],
    ),
    (
        "multiclass",
        {"train": "ab", "valid": "ab", "test": "bb"},
        ["one class only in the test split: every clip there is 'b'"],
    ),
    ("multilabel", {"train": ["a", "b"], "valid": ["a", "b"], "test": ["a", "b"]}, []),
    (
        "multilabel",
        {"train": ["a", "b|c", "c"], "valid": ["a", "b|c"], "test": ["a|b|c", "a|b"]},
        [
            "1 of 3 tags scored in the test split: 'a', 'b' have no positive or no negative there",
        ],
    ),
    (
        "multilabel",
        {"train": ["a", "b"], "valid": ["a", "b|c"], "test": ["a|b", "c"]},
        ["tag 'c' has no positive or no negative in the training split"],
    ),
    ("regression", {"train": ["1|2", "3|4"], "valid": ["1|2", "3|4"], "test": ["1|2", "3|4"]}, []),
    (
        "regression",
        {"train": ["1|2", "1|4"], "valid": ["1|2", "3|2"], "test": ["1|2", "3|2"]},
        [
            "target 'target0' constant in the training split: nothing to learn",
            "target 'target1' constant in the validation split: R2 is undefined and left out of the mean",
            "target 'target1' constant in the test split: R2 is undefined and left out of the mean",
        ],
    ),
]


@pytest.mark.parametrize(("kind", "splits", "said"), CASES)
def test_what_limits_a_score_is_said(tmp_path, kind, splits, said):
    features = task_of(tmp_path, kind, **splits)
    assert caveats(features) == said
    require_selection(features)


@pytest.mark.parametrize(
    ("kind", "valid", "why"),
    [
        ("multilabel", ["a|b", "a|b"], "roc_auc is undefined on the validation split .no tag has both"),
        ("regression", ["1|2", "1|2"], "r2 is undefined on the validation split .no target has two different values"),
    ],
)
def test_nothing_is_trained_that_validation_cannot_choose(tmp_path, kind, valid, why):
    good = {"multilabel": ["a", "b"], "regression": ["1|2", "3|4"]}[kind]
    task_of(tmp_path, kind, train=good, valid=valid, test=good)
    with pytest.raises(ProbeError, match=why):
        api.probe([str(tmp_path / "some.toml")], features=tmp_path / "f", results=tmp_path / "r")
    assert not list(tmp_path.glob("r/**/*.json"))


@pytest.mark.parametrize("kind", ["notes", "beats"])
def test_clips_without_notes_or_beats_are_counted(tmp_path, kind):
    features = task_of(tmp_path, kind, train=["full", "full"], valid=["full", "none"], test=["none", "none"])
    assert caveats(features) == [
        f"1 of 2 validation clips have no {kind}",
        f"no {kind} in the test split: silence alone is right there",
    ]
    require_selection(features)
