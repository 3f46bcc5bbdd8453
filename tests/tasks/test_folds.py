"""Every clip is in one fold, every group in one, and each fold is tested with the rest to learn."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from svuprobe.tasks import find_clips, folds, load, manifest
from svuprobe.tasks.datasets import embedded_folder
from svuprobe.tasks.types import Clip, Task, TaskError, Windowing

TASK = Task(
    name="mine",
    dataset="mine",
    kind="multiclass",
    metrics=("accuracy",),
    clips=lambda root: [],
    windowing=Windowing(3.0),
    licence="none",
    reference="none",
)


def clips_of(n_groups=12, per_group=4, classes=3, sizes=None):
    made = []
    for group in range(n_groups):
        for n in range(sizes[group] if sizes else per_group):
            name = f"{group}-{n}"
            made.append(Clip(name, name, "test", f"class{n % classes}", f"g{group}"))
    return made


def in_folds(names, n_groups=12):
    clips = clips_of(n_groups)
    return [replace(c, fold=names[int(c.group[1:]) % len(names)]) for c in clips]


@pytest.mark.parametrize("n_folds", [2, 3, 5, 12])
def test_dealt_clips_are_each_in_one_fold_with_their_group_and_the_same_each_time(n_folds):
    clips = clips_of(sizes=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    dealt = folds.dealt(clips, TASK, n_folds, seed=3)
    assert [replace(c, fold="", split="test") for c in dealt] == clips
    assert folds.names(dealt) == tuple(str(n + 1) for n in range(n_folds))
    assert max(Counter({(c.group, c.fold) for c in dealt}).values()) == 1
    assert len({(c.group, c.fold) for c in dealt}) == 12
    assert folds.dealt(clips, TASK, n_folds, seed=3) == dealt
    folds.check(TASK, dealt)


def test_classes_are_as_even_in_folds_as_groups_allow():
    # Each clip a group of its own: every fold can hold as many of each class.
    clips = [replace(c, group=c.id) for c in clips_of(30, 3)]
    counts = Counter((c.fold, c.target) for c in folds.dealt(clips, TASK, 5))
    assert set(counts.values()) == {6}


@pytest.mark.parametrize("names", [["a", "b", "c"], ["1", "2", "10", "3"], ["x", "y"]])
def test_over_all_folds_every_clip_is_tested_once_and_no_group_crosses(names):
    clips = in_folds(names)
    tested = []
    for fold in folds.names(clips):
        splits = folds.as_splits(TASK, clips, fold)
        assert {c.split for c in splits} == {"train", "valid", "test"}
        own = [c.id for c in splits if c.split == "test"]
        assert own == [c.id for c in clips if c.fold == fold]
        tested += own
        assert len({(c.group, c.split) for c in splits}) == len({c.group for c in clips})
        # As a task without folds has them, so that a fold is probed like any task.
        assert [replace(c, split="test", fold="") for c in splits] == [
            replace(c, fold="") for c in clips
        ]
    assert sorted(tested) == sorted(c.id for c in clips)


def test_the_fold_after_the_tested_one_is_for_validation_and_the_last_is_followed_by_the_first():
    clips = in_folds(["1", "2", "10"])
    after = {}
    for fold in folds.names(clips):
        splits = folds.as_splits(TASK, clips, fold)
        pairs = zip(clips, splits, strict=True)
        (after[fold],) = {clip.fold for clip, now in pairs if now.split == "valid"}
    assert after == {"1": "2", "2": "10", "10": "1"}


def test_of_two_folds_whole_groups_of_the_other_are_for_validation():
    clips = in_folds(["a", "b"], n_groups=20)
    splits = folds.as_splits(TASK, clips, "a")
    assert Counter(c.split for c in splits) == {"test": 40, "train": 32, "valid": 8}
    few = [replace(c, group=c.fold) for c in clips]
    with pytest.raises(TaskError, match=r"beside fold 'a' there is one group, 'b'.*3 folds"):
        folds.as_splits(TASK, few, "a")


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ([*in_folds(["a", "b"])[1:], clips_of()[0]], "1 of 48 clips have no fold"),
        (in_folds(["a"]), "all clips are in fold 'a'; cross-validation takes at least 2"),
        (
            [replace(c, fold=str(n % 3)) for n, c in enumerate(clips_of())],
            r"group 'g0' is in both fold 0 and 1 \(12 of 12 groups cross\)",
        ),
    ],
)
def test_folds_that_are_no_partition_are_refused(clips, words):
    with pytest.raises(TaskError, match=words):
        folds.check(TASK, clips)


def test_groups_may_cross_folds_where_the_task_says_so():
    crossing = [replace(c, fold=str(n % 3)) for n, c in enumerate(clips_of())]
    folds.check(replace(TASK, disjoint_groups=False), crossing)


def test_fewer_groups_than_folds_and_folds_that_would_be_empty_are_refused():
    with pytest.raises(TaskError, match="4 groups are too few for 5 folds.*at most folds = 4"):
        folds.dealt(clips_of(4), TASK, 5)


# -- own data ------------------------------------------------------------------------------------


def toml_of(folder: Path, column="", extra="", n=20):
    lines = [f"path,target,group{',' + column if column else ''}"]
    for k in range(n):
        group = k // 2
        values = {"": [], "fold": [f"f{group % 4}"], "split": ["train"]}[column]
        lines.append(",".join([f"{k}.wav", f"c{k % 2}", f"g{group}", *values]))
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    path = folder / "mine.toml"
    path.write_text(f'name = "mine"\nkind = "multiclass"\nmetadata = "mine.csv"\n{extra}\n')
    return path


def clips_in(path):
    return load(str(path)).clips(Path())


def test_a_column_and_a_key_of_own_data_make_folds(tmp_path):
    clips = clips_in(toml_of(tmp_path, "fold"))
    assert folds.names(clips) == ("f0", "f1", "f2", "f3")
    assert {c.split for c in clips} == {"test"}
    dealt = clips_in(toml_of(tmp_path, extra="folds = 5"))
    assert folds.names(dealt) == ("1", "2", "3", "4", "5")
    other = clips_in(toml_of(tmp_path, extra="folds = 5\nsplit_seed = 1"))
    assert [c.fold for c in other] != [c.fold for c in dealt]


@pytest.mark.parametrize(
    ("column", "extra", "words"),
    [
        ("fold", "folds = 5", "has a column fold, and the TOML says folds = 5; leave out one"),
        ("split", "folds = 5", "clips have a split and folds"),
        ("", "folds = 11", "10 groups are too few for 11 folds"),
        ("", "folds = 1", "folds = 1; it is a whole number from 2 to 1000"),
    ],
)
def test_contradictions_in_own_data_are_one_line(tmp_path, column, extra, words):
    with pytest.raises(TaskError, match=words) as caught:
        clips_in(toml_of(tmp_path, column, extra))
    assert "\n" not in str(caught.value)


def test_a_saved_list_keeps_folds_and_one_without_folds_names_none(tmp_path):
    task = load("starter-digits")
    clips = find_clips(task, embedded_folder(task.dataset))[:4]
    single = manifest.listed(task, clips, False)
    manifest.save(tmp_path, single)
    saved = tmp_path / "tasks" / "starter-digits.json"
    assert '"fold"' not in saved.read_text()
    assert manifest.read(saved).clips == single.clips
    in_folds = manifest.listed(task, [replace(c, split="test", fold="é 1") for c in clips], False)
    manifest.save(tmp_path, in_folds)
    assert manifest.read(saved).clips == in_folds.clips
    saved.write_text(saved.read_text().replace('"fold": "\\u00e9 1"', '"fold": 1', 1))
    with pytest.raises(TaskError, match="damaged"):
        manifest.read(saved)
