"""Labels that are unlikely to be meant are said where they are met: data check, extract, and beside
the score.
"""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from planted import write_task

from svuprobe import api
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import find_clips
from svuprobe.tasks.data.doubts import beyond, doubts
from svuprobe.tasks.types import SPLITS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six files of two seconds, and labels of all kinds."""
    folder = tmp_path_factory.mktemp("doubts")
    for n in range(6):
        soundfile.write(folder / f"{n}.wav", 0.3 * np.sin(0.1 * (n + 1) * np.arange(32000)), 16000)
    files = {
        "good.csv": "0.1,0.5,50\n0.6,1.9,60\n",
        "ms.csv": "100,500,50\n600,1900,60\n",
        # Annotations are rounded: 2.05 is at the end.
        "late.csv": "0.1,0.5,50\n2.05,2.2,60\n2.3,2.9,62\n",
        "voices.csv": "0.1,0.5,50\n0.4,0.9,60\n1,1.5,84\n1.6,1.7,30\n",
        "good.txt": "0.2\n0.8\n",
        "ms.txt": "200\n800\n1400\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def task_of(folder, name, kind, each, **keys):
    """A task of two clips a split, whose targets repeat."""
    rows = [
        {
            "path": f"{n}.wav",
            "target": each[n % len(each)],
            "split": SPLITS[n // 2],
            "group": f"g{n}",
        }
        for n in range(6)
    ]
    return str(write_task(folder, name, kind, rows, **keys))


CASES = [
    ("plain", "multiclass", ["dog", "cat"], {}, []),
    (
        "case",
        "multiclass",
        ["Dog", "dog "],
        {},
        ["labels 'Dog', 'dog' differ in case, blanks or marks alone"],
    ),
    ("marks", "multiclass", ["hip-hop", "hip hop"], {}, ["labels 'hip hop', 'hip-hop' differ"]),
    ("tags", "multilabel", ["Rock|slow", "rock|fast"], {}, ["labels 'Rock', 'rock' differ"]),
    ("width", "multiclass", ["abc", "\uff41bc"], {}, ["labels 'abc', '\\uff41bc' differ"]),
    ("meant", "multiclass", ["Dog", "dog"], {"targets": ["Dog", "dog"]}, []),
    ("keys", "multiclass", ["C", "c"], {}, []),
    ("more", "multiclass", ["C", "C#"], {}, []),
    ("signs", "multiclass", ["+", "-"], {}, []),
    ("numbers", "multiclass", ["1", "1.0"], {}, ["labels '1', '1.0' differ"]),
    ("decibels", "multiclass", ["-10", "10"], {}, []),
    ("halves", "multiclass", ["1.5", "15"], {}, []),
    ("values", "regression", ["1", "2"], {}, []),
    ("notes", "notes", ["good.csv"], {}, []),
    (
        "two-voices",
        "notes",
        ["voices.csv", "good.csv"],
        {},
        [
            "3 of 18 notes begin while another sounds: this kind holds one voice",
            "6 of 18 notes lie outside C2 to B5",
        ],
    ),
    ("beats", "beats", ["good.txt"], {}, []),
]


@pytest.mark.parametrize(
    ("name", "kind", "targets", "keys", "said"), CASES, ids=[case[0] for case in CASES]
)
def test_what_may_not_be_meant_is_said_by_check_extract_and_probe(
    folder, name, kind, targets, keys, said
):
    toml = task_of(folder, name, kind, targets, **keys)
    task = api.load_task(toml)
    found = doubts(task, find_clips(task, folder))
    assert len(found) == len(said)
    assert all(start in doubt for start, doubt in zip(said, found, strict=True))
    lines: list[str] = []
    assert api.check(toml, folder, reporter=api.Reporter(lines.append))
    assert (
        lines[-1] == f"whole: nothing is missing or damaged{', but see the notes' if said else ''}"
    )
    assert [line.removeprefix("note: ") for line in lines if line.startswith("note: ")] == found
    lines.clear()
    options = api.RunOptions(jobs=0, reporter=api.Reporter(lines.append))
    api.extract([toml], ["logmel"], data=folder, features=folder / "features", options=options)
    assert [line for line in lines if line.removeprefix(f"{task.name}: ") in found] == [
        f"{name}: {d}" for d in found
    ]
    protocol = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1, max_epochs=1)
    (done,) = api.probe(
        [toml], features=folder / "features", results=folder / "results", protocol=protocol
    )
    assert [caveat for caveat in done.result.caveats if caveat in found] == found


@pytest.mark.parametrize(
    ("kind", "targets", "late"),
    [
        (
            "notes",
            ["ms.csv", "good.csv"],
            "6 of 12 notes lie beyond the end of their audio (clip '0.wav' lasts 2",
        ),
        ("notes", ["late.csv", "good.csv"], "3 of 15 notes lie beyond"),
        ("beats", ["ms.txt"], "18 of 18 beats lie beyond the end of their audio"),
        ("notes", ["good.csv"], ""),
        ("beats", ["good.txt"], ""),
    ],
)
def test_labels_beyond_the_end_of_the_audio_are_counted_by_check_and_probe(
    folder, kind, targets, late
):
    name = f"beyond-{kind}-{targets[0].split('.')[0]}"
    toml = task_of(folder, name, kind, targets)
    lines: list[str] = []
    assert api.check(toml, folder, reporter=api.Reporter(lines.append)) == (not late)
    assert bool(late) == any(
        late in line and "are the times in milliseconds?" in line for line in lines
    )
    api.extract(
        [toml],
        ["logmel"],
        data=folder,
        features=folder / "features",
        options=api.RunOptions(jobs=0),
    )
    protocol = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1, max_epochs=1)
    (done,) = api.probe(
        [toml], features=folder / "features", results=folder / "results", protocol=protocol
    )
    said = [caveat for caveat in done.result.caveats if "beyond the end" in caveat]
    assert [caveat.startswith(late) for caveat in said] == [True] * bool(late)


def test_a_part_of_a_file_counts_from_its_start(folder):
    rows = [
        {
            "path": "0.wav",
            "target": "good.txt",
            "split": split,
            "start": n / 4,
            "end": n / 4 + 0.3,
            "group": n,
        }
        for n, split in enumerate(SPLITS)
    ]
    task = api.load_task(str(write_task(folder, "parts", "beats", rows)))
    clips = find_clips(task, folder)
    assert beyond(task, clips, {clip.id: 0.3 for clip in clips}) == ""
    assert beyond(task, clips, {}) == ""


def test_one_group_in_two_spellings_that_crosses_splits_is_doubted(folder):
    for other, doubted in (("train", False), ("test", True)):
        rows = [
            {"path": f"{n}.wav", "target": "ab"[n % 2], "split": split, "group": group}
            for n, (split, group) in enumerate(
                [("train", "Singer 1"), (other, "singer1"), ("valid", "x"), ("test", "y")]
            )
        ]
        task = api.load_task(str(write_task(folder, f"groups-{other}", "multiclass", rows)))
        found = doubts(task, find_clips(task, folder))
        assert [d.startswith("groups 'Singer 1', 'singer1' in several splits") for d in found] == [
            True
        ] * doubted
