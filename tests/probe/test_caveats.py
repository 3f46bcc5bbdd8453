"""What limits a score is said beside it; what nothing can choose is refused before it is
trained.
"""

import numpy as np
import pytest
from planted import header, write_cache, write_task
from test_probe import features_of

from svuprobe import api
from svuprobe.probe.caveats import caveats, require_selection
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.results import result_file
from svuprobe.probe.training.features import ClipFeatures
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.metrics import CORRELATIONS


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
            rows.append(
                {
                    "path": f"{split}{n}.wav",
                    "target": target,
                    "split": split,
                    "group": f"{split}{n}",
                }
            )
    toml = write_task(tmp_path, "some", kind, rows)
    task = api.load_task(str(toml))
    frames = 60 if kinds.of(task).level == "frame" else 1
    rng = np.random.default_rng(0)
    states = {c.id: [rng.normal(size=(frames, 2, 4))] for c in task.clips(tmp_path)}
    write_cache(tmp_path / "f", header(task, layers=2, dim=4), states)
    protocol = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1)
    features, cache = features_of(
        tmp_path, toml, protocol, FrameFeatures if frames > 1 else ClipFeatures
    )
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
            "target 'target1' constant in the validation split: R2 is undefined and left out of "
            "the mean",
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
        (
            "multilabel",
            ["a|b", "a|b"],
            "roc_auc is undefined on the validation split .no tag has both",
        ),
        (
            "regression",
            ["1|2", "1|2"],
            "r2 is undefined on the validation split .no target has two different values",
        ),
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
    features = task_of(
        tmp_path, kind, train=["full", "full"], valid=["full", "none"], test=["none", "none"]
    )
    assert caveats(features) == [
        f"1 of 2 validation clips have no {kind}",
        f"no {kind} in the test split: silence alone is right there",
    ]
    require_selection(features)


ODD = {
    "multiclass": {
        "one clip a split": ("a", "b", "a"),
        "one class": ("aa", "aa", "aa"),
        "two clips": ("ab", "ab", "ab"),
        "identical targets": ("aaaa", "aaaa", "aaaa"),
        "no class in common": ("ab", "cd", "ef"),
    },
    "multilabel": {
        "one clip a split": (["a"], ["b"], ["a"]),
        "one tag": (["a"] * 2, ["a"] * 2, ["a"] * 2),
        "two clips": (["a", "b"], ["a", "b"], ["a", "b"]),
        "identical targets": (["a|b"] * 4, ["a|b"] * 4, ["a|b"] * 4),
        "undefined in test": (["a", "b"], ["a", "b"], ["a|b", "a|b"]),
    },
    "regression": {
        "one clip a split": (["1|2"], ["3|4"], ["5|6"]),
        "one value": (["1"] * 2, ["1"] * 2, ["1"] * 2),
        "two clips": (["1", "2"], ["1", "2"], ["1", "2"]),
        "identical targets in training": (["1"] * 4, ["1", "2"], ["1", "2"]),
        "undefined in test": (["1", "2"], ["1", "2"], ["2", "2"]),
    },
    "notes": {
        "one clip a split": (["full"], ["full"], ["full"]),
        "two clips": (["full"] * 2, ["full"] * 2, ["full"] * 2),
        "empty in training": (["none"] * 2, ["full"] * 2, ["full"] * 2),
        "empty in validation": (["full"] * 2, ["none"], ["full"]),
        "empty": (["none"] * 2, ["none"] * 2, ["none"] * 2),
    },
}
ODD["beats"] = ODD["notes"]


def answers_are_alike(result):
    """Whether a head answers the same for all clips: it correlates with nothing."""
    with np.load(result.with_suffix(".npz")) as stored:
        return bool((np.ptp(stored["outputs"], axis=1) == 0).any())


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        (kind, name, changes)
        for kind, several in ODD.items()
        for name in several
        for changes in ({}, {"shuffle_labels": True}, {"train_fraction": 0.4})
        if kinds.named(kind).level == "clip" or not changes
    ],
)
def test_odd_tasks_of_all_kinds_give_a_result_or_a_line(tmp_path, kind, name, changes):
    features = task_of(
        tmp_path, kind, **dict(zip(("train", "valid", "test"), ODD[kind][name], strict=True))
    )
    protocol = Protocol(
        name="q",
        hidden=0,
        learning_rates=(1e-2, 1e-1),
        seeds=2,
        max_epochs=2,
        epoch_updates=1,
        **changes,
    )
    try:
        (one,) = api.probe(
            [str(tmp_path / "some.toml")],
            features=tmp_path / "f",
            results=tmp_path / "r",
            protocol=protocol,
        )
    except ProbeError as error:
        said = str(error)
    else:
        said = ""
        result = one.result
    if said:
        assert "undefined on the validation split" in said
        assert "\n" not in said
        assert kind in ("multilabel", "regression")
        return
    for metric, score in result.scores.items():
        undefined = not np.isfinite([v if v is not None else np.nan for v in score.per_seed]).all()
        alike = metric in CORRELATIONS and answers_are_alike(one.path)
        assert not undefined or alike or caveats(features), metric
    assert result.chance[result.task.ranked] is not None or caveats(features)
    assert result_file.load(one.path)
