"""Tasks on own data: what TOML and CSV mean, how clips are split, and what each mistake is answered
with.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from svuprobe.tasks import TABLE, find_clips, kinds, load, own
from svuprobe.tasks.kinds.beats import BEATS as BEAT_KIND
from svuprobe.tasks.kinds.multiclass import class_weights
from svuprobe.tasks.kinds.notes import NOTES as NOTE_KIND
from svuprobe.tasks.manifest import labels_of
from svuprobe.tasks.types import SPLITS, Clip, Task, TaskError

FRAME_KINDS = ("notes", "beats", "melody", "chords", "segments", "structure", "sequence")
NOTES = "onset_s,offset_s,midi\n2.5,3.5,62\n0.5,1.5,60\n1.5,2.5,61.5\n"
BEATS = "# Beats of a waltz\n0.5 1\n1.0 2\n\n1.5\t3\n2.0 1\n"
THREE = "a.wav,x,train\nb.wav,y,valid\nc.wav,x,test\n"
HEADER = "path,target,split\n"


def toml(
    kind: str = "multiclass", extra: str = "", name: str = "mine", metadata: str = "mine.csv"
) -> str:
    return f'name = "{name}"\nkind = "{kind}"\nmetadata = "{metadata}"\n{extra}\n'


def write(
    folder: Path, text: str | bytes, csv: str | bytes | None = None, **files: str | bytes
) -> Path:
    """A TOML file ``mine.toml``, its CSV file, and more files, whose names spell the dot as
    ``_dot_``.
    """
    named = {
        "mine.toml": text,
        **{name.replace("_dot_", "."): body for name, body in files.items()},
    }
    if csv is not None:
        named["mine.csv"] = csv
    for name, body in named.items():
        (folder / name).write_bytes(body.encode() if isinstance(body, str) else body)
    return folder / "mine.toml"


def found(path: Path) -> tuple[Task, list[Clip]]:
    task = load(str(path))
    return task, find_clips(task, Path("no folder is needed"))


def given(target: str, extra_column: str = "", values: str = "") -> str:
    """A CSV of one clip per split that all have one target."""
    rows = (f"{s}.wav,{target},{s}{values}\n" for s in SPLITS)
    return f"path,target,split{extra_column}\n" + "".join(rows)


def refused(path: Path, *parts: str) -> None:
    """Loading and finding clips raises one line that has every part."""
    with pytest.raises(TaskError) as error:
        found(path)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# Kinds


@pytest.mark.parametrize(
    ("kind", "extra", "target", "expected", "labels"),
    [
        ("multiclass", "", "tenor", "tenor", ("tenor",)),
        ("multilabel", "", "rock|fast", ("fast", "rock"), ("fast", "rock")),
        ("multilabel", "", " rock | fast |rock", ("fast", "rock"), ("fast", "rock")),
        ("multilabel", 'targets = ["fast", "rock", "slow"]', "", (), ("fast", "rock", "slow")),
        ("regression", "", "0.5", (0.5,), ("target",)),
        ("regression", "", "0.5|-1e1", (0.5, -10.0), ("target0", "target1")),
        (
            "regression",
            'targets = ["valence", "arousal"]',
            "0.5|-1",
            (0.5, -1.0),
            ("valence", "arousal"),
        ),
        ("notes", "", "n.csv", ((0.5, 1.5, 60.0), (1.5, 2.5, 61.5), (2.5, 3.5, 62.0)), ()),
        ("beats", "", "b.beats", (0.5, 1.0, 1.5, 2.0), ()),
        ("melody", "", "f.csv", ((0.0, 0.0), (0.01, 220.0)), ()),
        ("chords", "", "c.lab", ((0.0, 1.5, "C:maj"),), ()),
        ("segments", "", "c.lab", ((0.0, 1.5, "C:maj"),), ("C:maj",)),
        ("structure", 'targets = ["A", "C:maj"]', "c.lab", ((0.0, 1.5, "C:maj"),), ("A", "C:maj")),
        ("sequence", 'unit = "token"', "DH AH0", ("DH", "AH0"), ("AH0", "DH")),
        ("sequence", "casefold = true", "c.txt", ("l", "a"), (" ", "a", "l")),
    ],
)
def test_every_kind_has_its_target(tmp_path, kind, extra, target, expected, labels):
    files = {
        "n_dot_csv": NOTES,
        "b_dot_beats": BEATS,
        "f_dot_csv": "0.0,0.0\n0.01,220.0\n",
        "c_dot_lab": "0 1.5 C:maj\n",
        "c_dot_txt": "La\n",
    }
    task, clips = found(write(tmp_path, toml(kind, extra), given(target), **files))
    assert [clip.target for clip in clips] == [expected] * 3
    assert labels_of(task, clips) == labels
    assert (task.name, task.dataset, task.kind, task.version) == ("mine", "mine", kind, 1)
    assert kinds.of(task).level == ("frame" if kind in FRAME_KINDS else "clip")


@pytest.mark.parametrize("kind", kinds.TABLE)
def test_keys_set_the_task_and_defaults_are_stated(tmp_path, kind):
    plain = load(str(write(tmp_path, toml(kind))))
    assert plain.windowing.window_s == (5.0 if kind in ("notes", "melody") else 30.0)
    assert (plain.scored, plain.class_weight_alpha, plain.disjoint_groups) == ("clip", 0.0, True)
    assert plain.source == str((tmp_path / "mine.toml").resolve())
    scored = "clip" if kind in FRAME_KINDS else "window"
    keys = (
        f'dataset = "d"\nwindow_s = 2\nscored = "{scored}"\nclass_weight_alpha = 1\nlicence = '
        '"CC0"\nreference = "me"'
    )
    task = load(str(write(tmp_path, toml(kind, keys))))
    assert (task.dataset, task.windowing.window_s, task.licence, task.reference) == (
        "d",
        2.0,
        "CC0",
        "me",
    )
    assert (task.scored, task.class_weight_alpha) == (scored, 1.0)


@pytest.mark.parametrize(("window", "tail"), [("30.0", 1.0), ("3", 1.0), ("0.5", 0.5)])
def test_a_clip_keeps_a_tail_of_a_second_and_never_asks_for_more_than_a_window(
    tmp_path, window, tail
):
    assert load(str(write(tmp_path, toml(extra=f"window_s = {window}")))).windowing.tail_s == tail


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_frames_are_never_dropped_at_the_end(tmp_path, kind):
    assert load(str(write(tmp_path, toml(kind)))).windowing.tail_s == 0.0


def test_label_is_another_name_of_the_column_target(tmp_path):
    one, other = (
        found(write(tmp_path, toml(), f"path,{name},split\n" + THREE))[1]
        for name in ("target", "label")
    )
    assert one == other


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    plain = found(write(tmp_path, toml(), HEADER + THREE))[1]
    marked = found(
        write(tmp_path, toml(), b"\xef\xbb\xbf" + (HEADER + THREE).replace("\n", "\r\n").encode())
    )[1]
    assert marked == plain
    assert NOTE_KIND.read(_put(tmp_path / "n.csv", b"\xef\xbb\xbf" + NOTES.encode()))[0] == (
        0.5,
        1.5,
        60.0,
    )


def _put(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


def test_labels_may_hold_commas_and_letters_of_any_language(tmp_path):
    rows = 'a.wav,"Bizet, Carmen",train\nb.wav,Dvořák,valid\n"c, d.wav",歌,test\n'
    clips = found(write(tmp_path, toml(), HEADER + rows))[1]
    assert [clip.target for clip in clips] == ["Bizet, Carmen", "Dvořák", "歌"]
    assert clips[2].path == str(tmp_path / "c, d.wav")


@pytest.mark.parametrize("metadata", ["mine.csv", "lists/mine.csv"])
def test_paths_are_relative_to_the_toml_file(tmp_path, monkeypatch, metadata):
    (tmp_path / "lists").mkdir()
    toml_path = write(tmp_path, toml("notes", metadata=metadata), n_dot_csv=NOTES)
    (tmp_path / metadata).write_text(
        HEADER + "rec/a.wav,n.csv,train\n../b.wav,n.csv,valid\n/abs/c.wav,n.csv,test\n"
    )
    expected = [str(tmp_path / "rec/a.wav"), str(tmp_path.parent / "b.wav"), "/abs/c.wav"]
    assert [os.path.normpath(clip.path) for clip in found(toml_path)[1]] == expected
    monkeypatch.chdir(tmp_path)
    assert [
        os.path.abspath(clip.path) for clip in find_clips(load("mine.toml"), Path())
    ] == expected


# Parts of a file


@pytest.mark.parametrize(
    ("start", "end", "notes", "beats", "part"),
    [
        ("", "", ((0.5, 1.5, 60.0), (1.5, 2.5, 61.5), (2.5, 3.5, 62.0)), (0.5, 1.0, 1.5, 2.0), ""),
        ("0", "", ((0.5, 1.5, 60.0), (1.5, 2.5, 61.5), (2.5, 3.5, 62.0)), (0.5, 1.0, 1.5, 2.0), ""),
        ("1.0", "", ((0.5, 1.5, 61.5), (1.5, 2.5, 62.0)), (0.0, 0.5, 1.0), "#1-"),
        ("", "2", ((0.5, 1.5, 60.0), (1.5, 2.0, 61.5)), (0.5, 1.0, 1.5), "#0-2"),
        ("1.25", "2.75", ((0.25, 1.25, 61.5), (1.25, 1.5, 62.0)), (0.25, 0.75), "#1.25-2.75"),
        ("3", "4", (), (), "#3-4"),
    ],
)
def test_times_are_those_of_the_part_and_the_id_tells_it(tmp_path, start, end, notes, beats, part):
    for kind, target, expected in (("notes", "n.csv", notes), ("beats", "b.beats", beats)):
        csv = given(target, ",start,end", f",{start},{end}")
        clips = found(write(tmp_path, toml(kind), csv, n_dot_csv=NOTES, b_dot_beats=BEATS))[1]
        assert [clip.target for clip in clips] == [expected] * 3
        assert [clip.id for clip in clips] == [f"{s}.wav{part}" for s in SPLITS]
        assert clips[0].start == float(start or 0)
        assert clips[0].end == (float(end) if end else None)


def test_an_id_of_its_own_is_kept_as_it_is(tmp_path):
    csv = (
        "path,target,split,id,start,end\n"
        "a.wav,x,train,one,0,1\nb.wav,x,valid,two,1,2\nc.wav,x,test,,2,3\n"
    )
    clips = found(write(tmp_path, toml(), csv))[1]
    assert [clip.id for clip in clips] == ["one", "two", "c.wav#2-3"]


def test_parts_of_one_file_are_one_group_unless_the_csv_says_otherwise(tmp_path):
    parts = "".join(f"{n}.wav,x,{k},{k + 1}\n" for n in range(6) for k in range(3))
    clips = found(write(tmp_path, toml(), "path,target,start,end\n" + parts))[1]
    assert {clip.group for clip in clips} == {f"{n}.wav" for n in range(6)}
    csv = "path,target,split,start,end\na.wav,x,train,0,1\na.wav,x,test,1,2\nb.wav,x,valid,0,1\n"
    refused(write(tmp_path, toml(), csv), "group 'a.wav' is in both train and test")


def test_parts_that_differ_late_in_a_long_recording_have_different_ids(tmp_path):
    rows = "".join(
        f"a.wav,x,{s},g{n},{36000.02 + n / 100:.2f},36009\n" for n, s in enumerate(SPLITS)
    )
    clips = found(write(tmp_path, toml(), "path,target,split,group,start,end\n" + rows))[1]
    assert len({clip.id for clip in clips}) == 3


# Splits


def collection(
    folder: Path, n: int, per_group: int = 1, classes: int = 2, extra: str = ""
) -> list[Clip]:
    """Clips of n clips in groups of ``per_group``; the class belongs to the group."""
    rows = (f"{i}.wav,c{i // per_group % classes},g{i // per_group}\n" for i in range(n))
    return found(write(folder, toml(extra=extra), "path,target,group\n" + "".join(rows)))[1]


def test_given_splits_and_groups_are_kept(tmp_path):
    csv = (
        "path,target,split,group\n"
        "a.wav,x,test,g1\nb.wav,y,train,g2\nc.wav,x,valid,g3\nd.wav,x,test,g1\n"
    )
    clips = found(write(tmp_path, toml(), csv))[1]
    assert [(clip.split, clip.group) for clip in clips] == [
        ("test", "g1"),
        ("train", "g2"),
        ("valid", "g3"),
        ("test", "g1"),
    ]


@pytest.mark.parametrize("blank", [",split", ""])
@pytest.mark.parametrize(
    ("n", "per_group", "classes"), [(100, 1, 4), (200, 4, 2), (60, 3, 2), (5, 1, 1), (50, 10, 1)]
)
def test_clips_are_split_60_20_20_and_groups_stay_whole(tmp_path, n, per_group, classes, blank):
    rows = (
        f"{i}.wav,c{i // per_group % classes},g{i // per_group}{blank and ','}\n" for i in range(n)
    )
    clips = found(write(tmp_path, toml(), f"path,target,group{blank}\n" + "".join(rows)))[1]
    share = {split: count / n for split, count in Counter(clip.split for clip in clips).items()}
    assert share == pytest.approx(
        {"train": 0.6, "valid": 0.2, "test": 0.2}, abs=max(0.06, per_group / n)
    )
    assert len({(clip.group, clip.split) for clip in clips}) == n // per_group
    assert [clip.path for clip in clips] == [str(tmp_path / f"{i}.wav") for i in range(n)]


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_every_class_has_the_same_shares(tmp_path, classes):
    for label, count in Counter(
        (c.target, c.split) for c in collection(tmp_path, 200, 1, classes)
    ).items():
        expected = (0.6 if label[1] == "train" else 0.2) * 200 / classes
        assert abs(count - expected) <= 1


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_other_kinds_are_split_60_20_20_too(tmp_path, kind):
    csv = "path,target\n" + "".join(f"{i}.wav,{i}\n" for i in range(50))
    clips = found(write(tmp_path, toml(kind), csv))[1]
    assert Counter(clip.split for clip in clips) == {"train": 30, "valid": 10, "test": 10}


def test_a_split_is_the_same_each_time_and_split_seed_changes_it(tmp_path):
    first, again, other, zero = (
        [clip.split for clip in collection(tmp_path, 60, 2, extra=extra)]
        for extra in ("", "", "split_seed = 1", "split_seed = 0")
    )
    assert first == again == zero
    assert first != other


def test_a_split_leaves_the_global_generator_alone(tmp_path):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    collection(tmp_path, 20)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_one_rare_class_among_common_ones_is_split_without_a_warning(tmp_path):
    rows = "".join(f"{i}.wav,{'rare' if i < 2 else 'common'}\n" for i in range(40))
    clips = found(write(tmp_path, toml(), "path,target\n" + rows))[1]
    assert {clip.split for clip in clips} == set(SPLITS)


@pytest.mark.parametrize("classes", [4, 6, 12])
def test_a_small_collection_of_rare_classes_is_split_too(tmp_path, classes):
    clips = collection(tmp_path, 12, 1, classes)
    assert Counter(clip.split for clip in clips)["train"] == pytest.approx(7, abs=1)


# Mistakes in the TOML file


TOML_MISTAKES = [
    ("name = =", ["not TOML", "line 1"]),
    (toml() + 'name = "again"\n', ["not TOML", "line 5"]),
    (b'name = "\xff\xfe"', [":1", "0xff is not UTF-8", "save it as TOML in UTF-8"]),
    (toml(extra="windows_s = 3.0"), ["unknown key 'windows_s'", "did you mean window_s?"]),
    (toml(extra="xyzzy = 3.0"), ["unknown key 'xyzzy'", "there are name, kind, metadata"]),
    ('kind = "multiclass"\nmetadata = "m.csv"', ["key 'name' is missing"]),
    ('name = "mine"\nmetadata = "m.csv"', ["key 'kind' is missing"]),
    ('name = "mine"\nkind = "multiclass"', ["key 'metadata' is missing"]),
    ("", ["key 'name' is missing"]),
    ('name = 3\nkind = "multiclass"\nmetadata = "m.csv"', ["name = 3", "wrong type"]),
    (toml(extra='window_s = "3 s"'), ["window_s = '3 s'", "wrong type"]),
    (toml(extra="window_s = true"), ["window_s = True", "wrong type"]),
    (toml(extra='trim = "yes"'), ["trim = 'yes'", "wrong type"]),
    (toml(extra="split_seed = 0.5"), ["split_seed = 0.5", "wrong type"]),
    (toml(extra='targets = "valence"'), ["targets = 'valence'", "wrong type"]),
    (toml("regression", "targets = [1, 2]"), ["targets = [1, 2]"]),
    (toml("multi"), ["kind = 'multi'", "multiclass, multilabel, regression, notes, beats"]),
    (toml(name="my task"), ["name = 'my task'", "letters, digits, - and _"]),
    (toml(name="../up"), ["name = '../up'", "letters, digits, - and _"]),
    (toml(name=""), ["name = ''", "letters, digits, - and _"]),
    (toml(name="-x"), ["name = '-x'"]),
    (toml(extra='dataset = "a/b"'), ["dataset = 'a/b'", "letters, digits, - and _"]),
    *(
        (toml(name=built_in), [f"name = {built_in!r}", "built-in", "choose another"])
        for built_in in TABLE
    ),
    (toml(extra="window_s = 0"), ["window_s = 0", "from 0.01 to 86,400"]),
    (toml(extra="window_s = -3.0"), ["window_s = -3", "from 0.01 to 86,400"]),
    (toml(extra="window_s = nan"), ["window_s = nan"]),
    (toml(extra="window_s = inf"), ["window_s = inf"]),
    (toml(extra="tail_s = -1.0"), ["tail_s = -1"]),
    (toml(extra='scored = "song"'), ["scored = 'song'", "one of clip, window"]),
]


@pytest.mark.parametrize(("text", "parts"), TOML_MISTAKES, ids=[m[-1][0] for m in TOML_MISTAKES])
def test_a_mistake_in_the_toml_file_is_named(tmp_path, text, parts):
    path = write(tmp_path, text, HEADER + THREE)
    refused(path, str(path), *parts)


ODD = [
    *(
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1",
        "1e308",
        "-1e308",
        "1e-320",
        "0.5",
        "9223372036854775808",
        "4294967296",
    ),
    *(
        "1" + "0" * 400,
        "1" + "0" * 5000,
        "true",
        "false",
        "{}",
        "1979-05-27",
        "[]",
        "[[]]",
        "[" * 3000 + "]" * 3000,
    ),
    *(
        '""',
        '" "',
        r'"a\nb"',
        r'"\u0000"',
        '"' + "x" * 2000 + '"',
        '"."',
        '"/dev/zero"',
        "[nan]",
        '["a|b"]',
    ),
    *('["a", "a"]', '["a", "a "]', r'["a", "e\u0301", "\u00e9"]', r'["a\nb"]'),
]


@pytest.mark.parametrize("key", own.KEYS)
def test_whatever_toml_allows_a_value_is_one_that_works_or_is_named_with_its_key(tmp_path, key):
    named = {"name": '"mine"', "kind": '"multiclass"', "metadata": '"mine.csv"'}
    csv = "path,target\n" + "".join(f"{n}.wav,a\n" for n in range(10))
    worked = 0
    for value in ODD:
        text = "".join(f"{k} = {v}\n" for k, v in (named | {key: value}).items())
        said = ""
        try:
            task, clips = found(write(tmp_path, text, csv))
        except TaskError as error:
            said = str(error)
        if said:
            assert "\n" not in said
            assert len(said) < 400 + len(str(tmp_path))
            assert f"{key} = " in said or "not TOML" in said or key == "metadata"
            continue
        worked += 1
        assert len(clips) == 10
        assert 0 < len(task.windowing.spans(22050 * 60, 22050)) <= 6000
        assert np.isfinite(
            class_weights(np.array([0] * 1000 + [1]), 2, task.class_weight_alpha)
        ).all()
    assert worked <= len(ODD) / 2


@pytest.mark.parametrize(
    ("extra", "parts"),
    [
        ("window_s = 2\ntail_s = 3.0", ["tail_s = 3.0", "never longer than window_s = 2"]),
        ("tail_s = 31", ["tail_s = 31", "window_s = 30"]),
        ("split_seed = -1", ["split_seed = -1", "a whole number from 0 to 4294967295"]),
        ("window_s = 1e308", ["window_s = 1e+308", "from 0.01 to 86,400"]),
    ],
)
def test_values_that_no_window_or_split_can_have_are_refused(tmp_path, extra, parts):
    refused(write(tmp_path, toml(extra=extra), HEADER + THREE), *parts)


@pytest.mark.parametrize("where", ["mine.toml", "mine.csv", "t.txt"])
@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, where, what):
    path = write(tmp_path, toml("beats"), given("t.txt"), t_dot_txt="0.5\n")
    (tmp_path / where).unlink()
    os.mkfifo(tmp_path / where) if what == "pipe" else (tmp_path / where).mkdir()
    refused(path, str(tmp_path / where), what, "not a file")


@pytest.mark.parametrize("name", ["none.toml", "folder.toml", "no/such/folder.toml"])
def test_a_missing_toml_file_is_named(tmp_path, name):
    (tmp_path / "folder.toml").mkdir()
    refused(tmp_path / name, str(tmp_path / name))


# Mistakes in the CSV file


CSV_MISTAKES = [
    ("", ":1", ["no column 'path'", "there are none"]),
    ("target,split\nx,train\n", ":1", ["no column 'path'", "there are target, split"]),
    ("path,split\na.wav,train\n", ":1", ["no column 'target'", "there are path, split"]),
    ("path|target\na.wav|x\n", ":1", ["no column 'path'", "path|target"]),
    ("path,target,label\na.wav,x,y\n", ":1", ["target"]),
    ("path,target,path\na.wav,x,b.wav\n", ":1", ["path"]),
    (HEADER + THREE + "d.wav,x\n", ":5", ["not 3 fields"]),
    (HEADER + "a.wav,x,train,f1\n" + THREE, ":2", ["not 3 fields"]),
    (HEADER + "\n\n" + THREE + "d.wav\n", ":7", ["not 3 fields"]),
    (HEADER + THREE + ",x,test\n", ":5", ["path is empty"]),
    (HEADER + THREE + "d.wav, ,test\n", ":5", ["target is empty"]),
    (HEADER + THREE + "d.wav,x,trial\n", ":5", ["split 'trial'", "train, valid, test", "dev"]),
    (HEADER + THREE + "d.wav,x,eval\n", "", ["splits 'eval' and 'test'", "validation valid"]),
    ("path,target,start,end\na.wav,x,2,1\n", ":2", ["start 2 s", "end 1.0 s", "start < end"]),
    ("path,target,start,end\na.wav,x,2,2\n", ":2", ["start 2 s", "end 2.0 s", "start < end"]),
    ("path,target,start\na.wav,x,-1\n", ":2", ["start -1 s", "not from 0"]),
    ("path,target,start\na.wav,x,0\nb.wav,x,1:30\n", ":3", ["start '1:30' is not a number"]),
    ("path,target,start\na.wav,x,nan\n", ":2", ["start 'nan' is not a number"]),
    ("path,target,end\na.wav,x,inf\n", ":2", ["end 'inf' is not a number"]),
    ("path,target,end\na.wav,x,all\n", ":2", ["end 'all' is not a number"]),
    (HEADER + THREE + "d.wav,x,\n", "", ["1 clips have no split", "all of them one, or none"]),
    (HEADER, "", ["only a header"]),
    (HEADER + "a.wav,x,train\nb.wav,x,test\n", "", ["no clip in split valid", "one group"]),
    (HEADER + "a.wav,x,train\nb.wav,x,dev\n", "", ["no clip in split test", "carved out"]),
    (HEADER + "a.wav,x,train\n", "", ["no clip in split valid and test"]),
    (
        "path,target,group\n" + "".join(f"{i}.wav,x,g{i % 4}\n" for i in range(40)),
        "",
        ["4 groups are too few"],
    ),
    ("path,target\na.wav,x\nb.wav,x\n", "", ["2 groups are too few", "give a split column"]),
    (HEADER.encode() + "é.wav,x,train\n".encode("latin-1"), "", ["UTF-8"]),
    (HEADER + THREE + 'd.wav,"x,test\n', ":5", ["not a CSV file"]),
]


@pytest.mark.parametrize(
    ("csv", "where", "parts"), CSV_MISTAKES, ids=[m[-1][0] for m in CSV_MISTAKES]
)
def test_a_mistake_in_the_csv_file_is_named_with_its_line(tmp_path, csv, where, parts):
    refused(write(tmp_path, toml(), csv), f"{tmp_path / 'mine.csv'}{where}", *parts)


def test_a_missing_csv_file_is_named_with_the_key_that_names_it(tmp_path):
    refused(write(tmp_path, toml()), str(tmp_path / "mine.csv"), "no such file", "key metadata")


def test_a_folder_in_place_of_the_csv_file_is_named(tmp_path):
    refused(write(tmp_path, toml(metadata=".")), str(tmp_path))


@pytest.mark.parametrize(
    ("extra", "good", "bad", "parts"),
    [
        ("", "1", "loud", ["target 'loud' is not a number"]),
        ("", "1|2", "1|", ["target '' is not a number"]),
        ("", "1", "nan", ["target 'nan' is not a number"]),
        (
            'targets = ["valence", "arousal"]',
            "1|2",
            "1",
            ["1 values for the 2 targets of the TOML"],
        ),
        ('targets = ["valence"]', "1", "1|2", ["2 values for the 1 targets of the TOML"]),
        ("", "1", "1|2", ["2 values"]),
        ("", "1|2", "1", ["1 values"]),
    ],
)
def test_a_line_whose_values_differ_from_the_rest_is_named(tmp_path, extra, good, bad, parts):
    path = write(tmp_path, toml("regression", extra), given(good) + f"d.wav,{bad},test\n")
    refused(path, f"{tmp_path / 'mine.csv'}:5", *parts)


TARGET_MISTAKES = [
    ("notes", None, "", ["no such file", "target column"]),
    ("beats", None, "", ["no such file", "target column"]),
    ("notes", "0,1,60\n1,2\n", ":2", ["2 fields", "onset_s,offset_s,midi"]),
    ("notes", "onset_s,offset_s,midi\n\n0,1,60,90\n", ":3", ["4 fields"]),
    ("notes", "0,1,C4\n", ":1", ["note 'C4' is not a number"]),
    ("notes", "0,1,nan\n", ":1", ["note 'nan' is not a number"]),
    ("notes", "0,1,60\n2,1.5,60\n", ":2", ["offset 1.5 s is not after onset 2 s"]),
    ("notes", "1,1,60\n", ":1", ["offset 1 s is not after onset 1 s"]),
    ("notes", "-1,1,60\n", ":1", ["-1"]),
    ("beats", "0.5\nbeat 2\n", ":2", ["beat 'beat' is not a number"]),
    ("beats", "0.5\ninf\n", ":2", ["beat 'inf' is not a number"]),
    ("beats", "-0.5\n0.5\n", ":1", ["-0.5"]),
    ("notes", b"0,1,\xff\n", "", ["UTF-8"]),
    ("beats", b"\xff\n", "", ["UTF-8"]),
]


@pytest.mark.parametrize(
    ("kind", "body", "where", "parts"), TARGET_MISTAKES, ids=[m[-1][0] for m in TARGET_MISTAKES]
)
def test_a_mistake_in_notes_or_beats_is_named_with_its_line(tmp_path, kind, body, where, parts):
    files = {} if body is None else {"t_dot_txt": body}
    refused(
        write(tmp_path, toml(kind), given("t.txt"), **files), f"{tmp_path / 't.txt'}{where}", *parts
    )


def test_a_folder_in_place_of_notes_is_named(tmp_path):
    (tmp_path / "t.txt").mkdir()
    refused(write(tmp_path, toml("notes"), given("t.txt")), str(tmp_path / "t.txt"))


# Notes and beats


@pytest.mark.parametrize("separator", [",", ", ", "\t", "  "])
@pytest.mark.parametrize("header", ["", "onset_s,offset_s,midi\n", "# by ear\n"])
def test_notes_may_have_a_header_and_comments(tmp_path, header, separator):
    lines = "".join(separator.join(n) + "\n" for n in (("1", "2", "60"), ("0", "1", "59.5")))
    assert NOTE_KIND.read(_put(tmp_path / "n.csv", (header + lines).encode())) == (
        (0, 1, 59.5),
        (1, 2, 60),
    )


def test_a_header_after_a_comment_is_skipped_too(tmp_path):
    body = b"# by ear\nonset_s,offset_s,midi\n0,1,60\n"
    assert NOTE_KIND.read(_put(tmp_path / "n.csv", body)) == ((0, 1, 60),)


@pytest.mark.parametrize("separator", ["\t", " ", ",", ", ", ";"])
def test_beats_are_the_first_column_in_order(tmp_path, separator):
    body = f"2.0{separator}1\n0.5{separator}1\n1.25{separator}2\n"
    assert BEAT_KIND.read(_put(tmp_path / "b.txt", body.encode())) == (0.5, 1.25, 2.0)


def test_an_empty_file_is_a_clip_without_notes_or_beats(tmp_path):
    assert NOTE_KIND.read(_put(tmp_path / "n.csv", b"onset_s,offset_s,midi\n")) == ()
    assert BEAT_KIND.read(_put(tmp_path / "b.txt", b"")) == ()


# What find_clips refuses


def test_ids_that_repeat_are_refused(tmp_path):
    refused(
        write(tmp_path, toml(), HEADER + THREE + "a.wav,x,train\n"),
        "clip id 'a.wav' occurs twice",
        "unique",
    )


def test_a_group_in_two_splits_is_refused_unless_the_toml_says_otherwise(tmp_path):
    csv = "path,target,split,group\na.wav,x,train,g\nb.wav,x,valid,h\nc.wav,x,test,g\n"
    refused(
        write(tmp_path, toml(), csv), "group 'g' is in both train and test", "may not cross splits"
    )
    assert len(found(write(tmp_path, toml(extra="disjoint_groups = false"), csv))[1]) == 3


@pytest.mark.parametrize(("kind", "target"), [("multiclass", "slow"), ("multilabel", "fast|slow")])
def test_a_label_that_is_not_among_the_targets_is_refused_with_its_clip(tmp_path, kind, target):
    csv = f"path,target,split\na.wav,fast,train\nb.wav,fast,valid\nc.wav,{target},test\n"
    task, clips = found(write(tmp_path, toml(kind, 'targets = ["fast"]'), csv))
    with pytest.raises(
        TaskError, match=re.escape("'slow' of clip 'c.wav' is not among its 1 labels")
    ) as error:
        kinds.of(task).encode(task, labels_of(task, clips), clips)
    assert "c.wav" in str(error.value)


def test_what_is_neither_a_task_nor_a_toml_file_is_refused_with_the_close_matches():
    with pytest.raises(TaskError, match="unknown task 'tecnique': did you mean technique"):
        load("tecnique")
    with pytest.raises(TaskError, match="unknown task 'xyzzy': there are .*path to a .toml file"):
        load("xyzzy")
