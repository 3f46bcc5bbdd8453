"""Own data as people have them: folders, lists of every form, annotations; each mistake is one line
that names the file and the row.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest
from click.testing import CliRunner

from svuprobe import api, cli
from svuprobe._progress import Reporter
from svuprobe.probe.protocol import Protocol
from svuprobe.tasks import find_clips, kinds, load, manifest
from svuprobe.tasks.datasets import starter
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.own import COLUMNS, KEYS, listing_of
from svuprobe.tasks.own.statement import first_rows, sentences
from svuprobe.tasks.types import TaskError

DATA = Path(__file__).parents[1] / "data"
DIGITS = Path(starter.__file__).parent / "starter" / "digits"
SPEAKERS = ("jackson", "nicolas", "theo", "yweweler")
SPLIT_OF = dict(zip(SPEAKERS, ("train", "train", "val", "test"), strict=True))


def recordings(takes=2, digits=("0", "1")):
    """(file, digit, speaker) of recordings that come with svuprobe."""
    found = []
    for digit in digits:
        for speaker in SPEAKERS:
            for take in range(takes):
                found.append((DIGITS / f"{digit}_{speaker}_{take}.flac", digit, speaker))
    return found


def put(recording: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(recording, place)
    return place


def found(name):
    task = load(str(name))
    return task, find_clips(task, Path("no folder is needed"))


def refused(name, *parts):
    """Loading and finding clips raises one line that has every part."""
    with pytest.raises(TaskError) as error:
        found(name)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


# -- the forms, each from the same recordings -----------------------------------------------------


def classes(folder):
    for path, digit, _ in recordings():
        put(path, folder / digit / path.name)
    return f"folder:{folder}"


def classes_in_splits(folder):
    for path, digit, speaker in recordings():
        put(path, folder / SPLIT_OF[speaker] / digit / "deeper" / path.name)
    return f"folder:{folder}"


def hugging_face(folder, write):
    rows = []
    for path, digit, speaker in recordings():
        put(path, folder / "audio" / path.name)
        rows.append({"file_name": f"audio/{path.name}", "label": digit, "speaker": speaker})
    write(folder, rows)
    return f"folder:{folder}"


def as_csv(folder, rows, separator=",", name="metadata.csv"):
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    text = "".join(separator.join(map(str, line)) + "\n" for line in lines)
    (folder / name).write_text(text, encoding="utf-8")


def as_json_lines(folder, rows, name="metadata.jsonl"):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")


def as_parquet(folder, rows):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame(rows).to_parquet(folder / "metadata.parquet")


def hugging_face_splits(folder):
    rows = {}
    for path, digit, speaker in recordings():
        put(path, folder / SPLIT_OF[speaker] / path.name)
        row = {"file_name": path.name, "label": int(digit)}
        rows.setdefault(SPLIT_OF[speaker], []).append(row)
    for split, of_split in rows.items():
        as_json_lines(folder / split, of_split)
    return f"folder:{folder}"


def hear(folder, mode="trainvaltest", parts=("train", "train", "valid", "test"), **changes):
    """A HEAR task folder at two rates; each speaker is in one of the parts."""
    labels = {}
    for path, digit, speaker in recordings():
        part = parts[SPEAKERS.index(speaker)]
        for rate in (16000, 48000):
            put(path, folder / str(rate) / part / path.name)
        labels.setdefault(part, {})[path.name] = [digit]
    for part, of_part in labels.items():
        (folder / f"{part}.json").write_text(json.dumps(of_part))
    (folder / "labelvocabulary.csv").write_text("idx,label\n0,0\n1,1\n")
    body = {
        "task_name": "digits",
        "embedding_type": "scene",
        "prediction_type": "multiclass",
        "split_mode": mode,
        "sample_duration": 0.5,
        "evaluation": ["top1_acc"],
    }
    (folder / "task_metadata.json").write_text(json.dumps(body | changes))
    return f"folder:{folder}"


def hear_folds(folder):
    parts = ("fold00", "fold01", "fold02", "fold03")
    return hear(folder, "presplit_kfold", parts, nfolds=4)


def listed(folder, write, name, **row_changes):
    """A TOML whose list has other names for its columns, and one column more."""
    rows = []
    for path, digit, speaker in recordings():
        put(path, folder / "rec" / path.name)
        row = {"wav": f"rec/{path.name}", "digit": digit, "who": speaker}
        rows.append(row | {"subset": SPLIT_OF[speaker], "age": 30})
    write(folder, rows, name=name)
    columns = '[columns]\npath = "wav"\ntarget = "digit"\ngroup = "who"\nsplit = "subset"\n'
    text = f'name = "digits"\nkind = "multiclass"\nmetadata = "{name}"\n{columns}'
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


def as_json_array(folder, rows, name):
    (folder / name).write_text(json.dumps(rows))


FORMS = {
    "classes": classes,
    "classes in splits": classes_in_splits,
    "Hugging Face, CSV": lambda folder: hugging_face(folder, as_csv),
    "Hugging Face, JSON Lines": lambda folder: hugging_face(folder, as_json_lines),
    "Hugging Face, Parquet": lambda folder: hugging_face(folder, as_parquet),
    "Hugging Face, a list a split": hugging_face_splits,
    "HEAR": hear,
    "HEAR, folds": hear_folds,
    "TSV": lambda folder: listed(
        folder, lambda *a, **k: as_csv(*a, separator="\t", **k), "list.tsv"
    ),
    "semicolons": lambda folder: listed(
        folder, lambda *a, **k: as_csv(*a, separator=";", **k), "list.csv"
    ),
    "JSON Lines": lambda folder: listed(folder, as_json_lines, "list.jsonl"),
    "JSON": lambda folder: listed(folder, as_json_array, "list.json"),
}
GIVEN = {"train": 8, "valid": 4, "test": 4}
DEALT = {"train": 10, "valid": 3, "test": 3}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_read_as_the_task_it_is(tmp_path, form):
    name = FORMS[form](tmp_path / "digits") if form not in LISTED else FORMS[form](tmp_path)
    task, clips = found(name)
    assert (task.kind, len(clips), task.name) == ("multiclass", 16, "digits")
    assert Counter(clip.target for clip in clips) == {"0": 8, "1": 8}
    for clip in clips:
        # The recording is the one whose digit is the target.
        assert Path(clip.path).resolve().name.startswith(f"{clip.target}_")
        assert not Path(clip.id).is_absolute()
    count = Counter(clip.split for clip in clips)
    if form == "HEAR, folds":
        assert Counter(clip.fold for clip in clips) == dict.fromkeys(
            ("fold00", "fold01", "fold02", "fold03"), 4
        )
    elif "split" in form or form in ("HEAR", *LISTED):
        assert count == GIVEN
    else:
        assert count["train"] in (9, 10)
        assert count["valid"] + count["test"] == 16 - count["train"]
    # It is said before work starts, in lines without surprises.
    said = sentences(task, clips)
    assert all("\n" not in line for line in said)
    assert str(tmp_path) in said[0]
    assert len(first_rows(task, clips)) == 6


LISTED = ("TSV", "semicolons", "JSON Lines", "JSON")


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    (tmp_path / "digits").mkdir()


def test_other_names_of_columns_and_columns_that_mean_nothing_are_said(tmp_path):
    task, clips = found(FORMS["TSV"](tmp_path))
    assert {clip.group for clip in clips} == set(SPEAKERS)
    first, second = sentences(task, clips)
    assert "a TSV file, 16 files, multiclass, path is wav, target is digit" in first
    assert first.endswith("not used: age")
    assert second == "splits as given, 4 groups"


def test_a_misspelt_column_is_named_with_what_it_may_be(tmp_path):
    as_csv(tmp_path, [{"path": f"{n}.wav", "label": n % 2, "gruop": n} for n in range(8)])
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nkind = "multiclass"\nmetadata = "metadata.csv"\n'
    )
    task, clips = found(tmp_path / "mine.toml")
    assert sentences(task, clips)[0].endswith("not used: gruop (is it group?)")


def test_of_several_sampling_rates_of_hear_the_highest_is_read_and_its_duration_is_the_window(
    tmp_path,
):
    task, clips = found(hear(tmp_path / "digits"))
    assert {Path(clip.path).parts[-3] for clip in clips} == {"48000"}
    assert task.windowing.window_s == 0.5
    assert (task.metrics[0], task.labels) == ("accuracy", ("0", "1"))
    several = {"prediction_type": "multilabel", "evaluation": ["mAP", "d_prime"]}
    (tmp_path / "tags").mkdir()
    task, clips = found(hear(tmp_path / "tags", **several))
    assert (task.kind, task.metrics[0]) == ("multilabel", "ap")
    assert clips[0].target == ("0",)


@pytest.mark.parametrize(
    ("spelling", "split"),
    [("training", "train"), ("Dev", "valid"), ("validation", "valid"), ("eval", "test")],
)
def test_splits_have_the_names_that_people_use(tmp_path, spelling, split):
    rows = "a.wav,x,train\nb.wav,x,val\nc.wav,x,test\n".replace(
        {"train": "train", "valid": "val", "test": "test"}[split], spelling
    )
    (tmp_path / "l.csv").write_text("path,label,split\n" + rows)
    (tmp_path / "m.toml").write_text('name = "m"\nkind = "multiclass"\nmetadata = "l.csv"\n')
    assert [clip.split for clip in found(tmp_path / "m.toml")[1]] == ["train", "valid", "test"]


def test_validation_is_carved_out_of_train_with_whole_groups_always_the_same_and_said(tmp_path):
    rows = [
        {"path": f"{n}.wav", "label": n % 2, "group": f"g{n // 4}", "split": "train"}
        for n in range(40)
    ]
    rows += [{"path": "t.wav", "label": 1, "group": "t", "split": "test"}]
    as_csv(tmp_path, rows)
    (tmp_path / "m.toml").write_text('name = "m"\nkind = "multiclass"\nmetadata = "metadata.csv"\n')
    task, clips = found(tmp_path / "m.toml")
    assert Counter(clip.split for clip in clips) == {"train": 32, "valid": 8, "test": 1}
    assert len({(clip.group, clip.split) for clip in clips}) == 11
    assert found(tmp_path / "m.toml")[1] == clips
    assert sentences(task, clips)[1] == (
        "splits as given; none for validation, so 8 of the 40 training clips are it, each of 11 "
        "groups whole in one"
    )


def test_a_group_is_what_a_pattern_finds_in_the_path(tmp_path):
    classes(tmp_path / "digits")
    text = 'name = "d"\nfolder = "digits"\ngroup_pattern = \'_([a-z]+)_\'\nfolds = 4\n'
    (tmp_path / "m.toml").write_text(text)
    _, clips = found(tmp_path / "m.toml")
    assert {clip.group for clip in clips} == set(SPEAKERS)
    assert len({(clip.group, clip.fold) for clip in clips}) == 4


def test_several_columns_are_one_target_and_name_its_values(tmp_path):
    rows = [{"path": f"{n}.wav", "valence": n / 10, "arousal": -n} for n in range(5)]
    as_json_lines(tmp_path, rows, "l.jsonl")
    text = 'name = "m"\nkind = "regression"\nmetadata = "l.jsonl"\n'
    (tmp_path / "m.toml").write_text(text + '[columns]\ntarget = ["valence", "arousal"]\n')
    task, clips = found(tmp_path / "m.toml")
    assert task.labels == ("valence", "arousal")
    assert clips[3].target == (0.3, -3.0)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((["rock", "fast"], ["slow"]), "multilabel"),
        ((0.5, 1.25), "regression"),
        ((60, 62), "multiclass"),
        (("a.mid", "b.MIDI"), "notes"),
        (("a.beats", "b.beats"), "beats"),
    ],
)
def test_a_folder_says_its_kind_by_what_its_labels_look_like(tmp_path, values, kind):
    for name in ("a", "b"):
        put(recordings()[0][0], tmp_path / f"{name}.flac")
    rows = [{"file_name": f"{n}.flac", "label": v} for n, v in zip("ab", values, strict=True)]
    as_json_lines(tmp_path, rows)
    assert load(f"folder:{tmp_path}").kind == kind


# -- annotations ----------------------------------------------------------------------------------


def jams(path: Path, *annotations):
    body = [{"namespace": namespace, "data": data} for namespace, data in annotations]
    path.write_text(json.dumps({"annotations": body, "file_metadata": {}, "sandbox": {}}))
    return path


def observation(time, value, duration=0.0):
    return {"time": time, "duration": duration, "value": value, "confidence": None}


def predicted(kind, events):
    task = load("transcription")
    return Prediction(task=task, path=Path("a.wav"), seconds=400.0, events=np.array(events))


@pytest.mark.parametrize(
    ("kind", "source"),
    [("notes", "on_the_run.notes.csv"), ("beats", "armygeddon.beats")],
)
def test_what_is_predicted_comes_in_again_from_every_file_that_is_written(tmp_path, kind, source):
    kind = kinds.named(kind)
    events = kind.read(DATA / source)[:200]
    written = kind.files(predicted(kind, events))
    assert len(written) >= 2
    for suffix, content in written.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        # Half a millisecond is a tick of the MIDI files.
        assert np.allclose(kind.events(path), events, atol=0.001)


def test_a_midi_file_is_read_in_seconds_whatever_its_tempo_and_tracks(tmp_path):
    file = mido.MidiFile(type=1, ticks_per_beat=100)
    tempi = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    # From the second beat on a beat lasts a second.
    tempi.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=100))
    notes = mido.MidiTrack()
    for message, note, time in (("note_on", 60, 0), ("note_off", 60, 100), ("note_on", 62, 0)):
        notes.append(mido.Message(message, note=note, velocity=64, time=time))
    notes.append(mido.Message("note_on", note=62, velocity=0, time=100))
    drums = mido.MidiTrack([mido.Message("note_on", channel=9, note=35, time=0)])
    file.tracks += [tempi, notes, drums]
    file.save(tmp_path / "a.mid")
    read = kinds.named("notes").events(tmp_path / "a.mid")
    assert read == ((0.0, pytest.approx(0.5), 60.0), (pytest.approx(0.5), pytest.approx(1.5), 62.0))


@pytest.mark.parametrize(
    ("kind", "namespace", "data", "target"),
    [
        ("notes", "note_hz", [observation(1.0, 440.0, 0.5)], ((1.0, 1.5, 69.0),)),
        ("notes", "note_midi", {"time": [1], "duration": [2], "value": [60]}, ((1, 3, 60),)),
        ("beats", "beat_position", [observation(2.0, {"position": 1})], (2.0,)),
        (
            "melody",
            "pitch_contour",
            [
                observation(0.0, {"voiced": False, "frequency": 90}),
                observation(0.1, {"voiced": True, "frequency": 220.0}),
            ],
            ((0.0, 0.0), (0.1, 220.0)),
        ),
        ("chords", "chord", [observation(1, "C:maj", 2.0)], ((1.0, 3.0, "C:maj"),)),
        ("multiclass", "key_mode", [observation(0, "C:major", 30)], "C:major"),
        ("multilabel", "tag_open", [observation(0, "b"), observation(0, "a")], ("a", "b")),
        ("regression", "mood_thayer", [observation(0, [0.5, -1])], (0.5, -1.0)),
    ],
)
def test_a_jams_file_is_a_target_of_every_kind(tmp_path, kind, namespace, data, target):
    jams(tmp_path / "a.jams", ("segment_open", []), (namespace, data))
    (tmp_path / "l.csv").write_text(
        "path,target,split\n" + "".join(f"{s}.wav,a.jams,{s}\n" for s in ("train", "val", "test"))
    )
    (tmp_path / "m.toml").write_text(f'name = "m"\nkind = "{kind}"\nmetadata = "l.csv"\n')
    assert found(tmp_path / "m.toml")[1][0].target == target


def test_annotations_beside_recordings_are_their_targets(tmp_path):
    folder = tmp_path / "songs"
    for n in range(5):
        put(recordings()[n][0], folder / f"{n}.flac")
        (folder / f"{n}.beats").write_text("0.1\n0.2\n")
    task, clips = found(f"folder:{folder}")
    assert (task.kind, clips[0].target, len(clips)) == ("beats", (0.1, 0.2), 5)
    (tmp_path / "m.toml").write_text('name = "m"\nkind = "notes"\nfolder = "songs"\n')
    refused(tmp_path / "m.toml", "songs/0.flac: nothing beside it", ".mid")


# -- mistakes: what is done to a whole form, and what the one line says ---------------------------


def edit(path: Path, old: str, new: str):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def hear_edit(file, old, new):
    return lambda folder: (hear(folder), edit(folder / file, old, new))


def jsonl_edit(old, new):
    return lambda folder: (
        hugging_face(folder, as_json_lines),
        edit(folder / "metadata.jsonl", old, new),
    )


FOLDER_MISTAKES = {
    "no recordings": (lambda folder: None, ["digits: no recordings in it", ".flac"]),
    "beside the classes": (
        lambda folder: (classes(folder), put(recordings()[0][0], folder / "x.flac")),
        ["digits/x.flac: lies in no class folder"],
    ),
    "one class": (
        lambda folder: put(recordings()[0][0], folder / "all" / "0" / "x.flac"),
        ["one class folder, 'all'", "is it folder:", "digits/all?"],
    ),
    "beside the splits": (
        lambda folder: (
            classes_in_splits(folder),
            put(recordings()[0][0], folder / "more" / "0" / "x.flac"),
        ),
        ["digits/more: stands beside test and train and val"],
    ),
    "no test": (
        lambda folder: [
            put(path, folder / split / digit / path.name)
            for path, digit, speaker in recordings()
            for split in [SPLIT_OF[speaker]]
            if split != "test"
        ],
        ["digits: no clip in split test", "carved out of train"],
    ),
    "no column": (
        lambda folder: hugging_face(
            folder, lambda f, rows: as_csv(f, [{"file_name": r["file_name"]} for r in rows])
        ),
        ["metadata.csv:1: no column 'target' (or label)", "there are file_name", "[columns]"],
    ),
    "no such recording": (
        lambda folder: hugging_face(
            folder, lambda f, rows: as_csv(f, [*rows, rows[0] | {"file_name": "gone.wav"}])
        ),
        ["metadata.csv:18: file_name 'gone.wav' is no file in"],
    ),
    "two lists": (
        lambda folder: (hugging_face(folder, as_csv), (folder / "metadata.jsonl").touch()),
        ["metadata.csv and metadata.jsonl; keep one"],
    ),
    "not JSON": (jsonl_edit('{"file_name": "audio/0_j', "{"), ["metadata.jsonl:1: not JSON"]),
    "no object": (
        jsonl_edit('{"file_name"', '[]\n{"file_name"'),
        ["metadata.jsonl:1: [] is no object"],
    ),
    "no text": (
        jsonl_edit('"label": "0"', '"label": {"a": 1}'),
        ["metadata.jsonl:1: label is {'a': 1}"],
    ),
    "a list in a list": (
        jsonl_edit('"label": "0"', '"label": [["a"]]'),
        ["metadata.jsonl:1: label holds ['a']"],
    ),
    "a key twice": (
        jsonl_edit('"label": "0"', '"label": "1", "label": "0"'),
        ["metadata.jsonl:1: not JSON ('label' occurs twice in an object)"],
    ),
    "no number as pandas writes it": (
        jsonl_edit('"label": "0"', '"label": NaN'),
        ["metadata.jsonl:1: target is empty"],
    ),
    "half a character": (
        jsonl_edit('"label": "0"', r'"label": "\ud800"'),
        ["metadata.jsonl:1: target '\\ud800' has bytes that are not UTF-8"],
    ),
    "a null character": (
        jsonl_edit('"label": "0"', r'"label": "0", "id": "a\u0000"'),
        ["metadata.jsonl:1: id 'a\\x00' has", "a null character; rename it"],
    ),
    "a name of an old archive": (
        lambda folder: (
            classes(folder),
            put(recordings()[0][0], folder / "0" / os.fsdecode(b"caf\xe9.flac")),
        ),
        ["path '0/caf\\udce9.flac' has bytes that are not UTF-8"],
    ),
    "a recording of HEAR twice": (
        hear_edit("train.json", '"1_jackson_1.flac"', '"1_jackson_0.flac"'),
        ["train.json: not JSON ('1_jackson_0.flac' occurs twice"],
    ),
    "no label": (jsonl_edit('"label": "0", ', ""), ["metadata.jsonl:1: target is empty"]),
    "damaged metadata": (
        hear_edit("task_metadata.json", "{", ""),
        ["task_metadata.json: not JSON"],
    ),
    "events": (
        hear_edit("task_metadata.json", '"scene"', '"event"'),
        ["task_metadata.json: embedding_type = 'event'", "scene tasks are"],
    ),
    "no prediction type": (
        hear_edit("task_metadata.json", '"multiclass"', '"accdoa"'),
        ["task_metadata.json: prediction_type = 'accdoa'", "multiclass, multilabel"],
    ),
    "no duration": (
        hear_edit("task_metadata.json", "0.5", "1e308"),
        ["task_metadata.json: sample_duration = 1e+308; it is a number from 0.01"],
    ),
    "no vocabulary": (
        lambda folder: (hear(folder), (folder / "labelvocabulary.csv").unlink()),
        ["labelvocabulary.csv: no such file"],
    ),
    "a label beside the vocabulary": (
        hear_edit("train.json", '"1_jackson_0.flac": ["1"]', '"1_jackson_0.flac": ["2"]'),
        ["train.json: '1_jackson_0.flac': label '2' is not in labelvocabulary.csv"],
    ),
    "two labels": (
        hear_edit("train.json", '"1_jackson_0.flac": ["1"]', '"1_jackson_0.flac": ["1", "0"]'),
        ["train.json: '1_jackson_0.flac': 2 labels ('1', '0')"],
    ),
    "no such recording of HEAR": (
        hear_edit("test.json", "0_yweweler_0", "0_yweweler_9"),
        ["test.json: '0_yweweler_9.flac': no such file in"],
    ),
    "a fold too few": (
        lambda folder: (hear_folds(folder), (folder / "fold03.json").unlink()),
        ["task_metadata.json: nfolds = 4, and 3 files fold00.json"],
    ),
}


@pytest.mark.parametrize("mistake", FOLDER_MISTAKES)
def test_a_mistake_in_a_folder_is_one_line_with_its_file(tmp_path, mistake):
    spoil, parts = FOLDER_MISTAKES[mistake]
    spoil(tmp_path / "digits")
    refused(f"folder:{tmp_path / 'digits'}", str(tmp_path), *parts)


NOTE = observation(1.0, 60, 0.5)
ANNOTATION_MISTAKES = {
    "no JSON": (lambda p: p.write_text("{"), "notes", [".jams: is no JAMS file"]),
    "no annotations": (lambda p: p.write_text("{}"), "notes", ["is no JAMS file"]),
    "none that fits": (
        lambda p: jams(p, ("chord", [])),
        "notes",
        ["a.jams: no annotation of note_midi or note_hz; there are chord", "key namespace"],
    ),
    "two that fit": (
        lambda p: jams(p, ("note_midi", [NOTE]), ("note_midi", [NOTE])),
        "notes",
        ["a.jams: 2 annotations of note_midi"],
    ),
    "two namespaces": (
        lambda p: jams(p, ("key_mode", []), ("tag_open", [])),
        "multiclass",
        ["annotations of key_mode, tag_open may be meant", "key namespace"],
    ),
    "a note without end": (
        lambda p: jams(p, ("note_midi", [NOTE, observation(2.0, 60)])),
        "notes",
        ["a.jams: observation 2 of note_midi: offset 2 s is not after onset 2 s"],
    ),
    "a note without pitch": (
        lambda p: jams(p, ("note_midi", [observation(2.0, "C4", 1)])),
        "notes",
        ["observation 1 of note_midi: MIDI number 'C4' is not a number from 0 to 127"],
    ),
    "a time before the start": (
        lambda p: jams(p, ("beat", [observation(-1, None)])),
        "beats",
        ["observation 1 of beat: time -1 is not a number from 0"],
    ),
    "two labels": (
        lambda p: jams(p, ("tag_open", [observation(0, "a"), observation(0, "b")])),
        "multiclass",
        ["a.jams: 2 labels ('a', 'b')"],
    ),
    "no label": (
        lambda p: jams(p, ("segment_open", [observation(0, {"label": "verse", "level": 0}, 1)])),
        "structure",
        ["a.jams: observation 1 of segment_open: value {'label': 'verse'", "a text or a number"],
    ),
    "an empty label": (
        lambda p: jams(p, ("segment_open", [observation(0, " ", 1)])),
        "segments",
        ["observation 1 of segment_open: value ' ' is no label"],
    ),
    "a label of a clip that is none": (
        lambda p: jams(p, ("tag_open", [observation(0, float("nan"))])),
        "multiclass",
        ["observation 1 of tag_open: value nan is no label"],
    ),
    "no MIDI": (lambda p: p.write_bytes(b"MThd..."), "notes", [": can't be read as MIDI"]),
    "of another kind": (lambda p: p.write_bytes(b""), "beats", ["MIDI has notes, and no beats"]),
}


@pytest.mark.parametrize("mistake", ANNOTATION_MISTAKES)
def test_a_mistake_in_an_annotation_is_one_line_with_its_file(tmp_path, mistake):
    spoil, kind, parts = ANNOTATION_MISTAKES[mistake]
    name = "a.mid" if "MIDI" in mistake or "kind" in mistake else "a.jams"
    spoil(tmp_path / name)
    (tmp_path / "l.csv").write_text(f"path,target\nx.wav,{name}\n")
    (tmp_path / "m.toml").write_text(f'name = "m"\nkind = "{kind}"\nmetadata = "l.csv"\n')
    refused(tmp_path / "m.toml", str(tmp_path / name), *parts)


TOML_MISTAKES = {
    "two of the two": ('metadata = "l.csv"\nfolder = "digits"', ["metadata = 'l.csv' and folder"]),
    "no form": ("", ["key 'metadata' is missing", "'folder'"]),
    "no column of ours": (
        'metadata = "l.csv"\n[columns]\ntraget = "x"',
        ["[columns] traget; did you mean target?"],
    ),
    "no column of the list": (
        'metadata = "l.csv"\n[columns]\ntarget = "digits"',
        ["l.csv:1: no column 'digits', which [columns] target names; did you mean digit?"],
    ),
    "a column as a key": ('metadata = "l.csv"\ntarget = "digit"', ["[columns] target = ..."]),
    "no pattern": (
        'metadata = "l.csv"\ngroup_pattern = "("',
        ["group_pattern = '('", "a regular expression with one group"],
    ),
    "a pattern that finds nothing": (
        'metadata = "l.csv"\ngroup_pattern = "(zzz)"\n[columns]\ntarget = "digit"',
        ["l.csv:2: group_pattern = '(zzz)' finds no group in the path 'a.wav'"],
    ),
    "no metric": ('metadata = "l.csv"\nmetric = "acuracy"', ["did you mean accuracy?"]),
}


@pytest.mark.parametrize("mistake", TOML_MISTAKES)
def test_a_mistake_in_the_toml_is_one_line(tmp_path, mistake):
    keys, parts = TOML_MISTAKES[mistake]
    (tmp_path / "l.csv").write_text("path,digit\na.wav,1\n")
    (tmp_path / "m.toml").write_text(f'name = "m"\nkind = "multiclass"\n{keys}\n')
    refused(tmp_path / "m.toml", str(tmp_path), *parts)


def test_a_folder_that_is_not_there_or_names_no_task_is_refused(tmp_path):
    refused(f"folder:{tmp_path / 'gone'}", "gone: no such folder")
    (tmp_path / "genre").mkdir()
    classes(tmp_path / "genre")
    refused(f"folder:{tmp_path / 'genre'}", "'genre' is a built-in task", "in a TOML file")
    (tmp_path / "声").mkdir()
    refused(f"folder:{tmp_path / '声'}", "makes none for a task", "TOML")
    with pytest.raises(TaskError, match=r"of the folder that is there: folder:"):
        load(str(tmp_path / "genre"))


def test_every_key_and_column_says_what_it_is_for():
    for name, key in KEYS.items():
        assert key.meaning, name
        assert key.rule, name
    assert all(column.meaning for column in COLUMNS.values())


def test_each_list_of_a_folder_has_its_own_decimal_mark(tmp_path):
    folder, targets = tmp_path / "ages", {"train": ",", "val": ";", "test": "\t"}
    for path, _, speaker in recordings():
        put(path, folder / SPLIT_OF[speaker] / path.name)
    for split, separator in targets.items():
        number = "1,500" if separator == ";" else "2.5"
        names = sorted(path.name for path in (folder / split).glob("*.flac"))
        rows = [{"file_name": name, "label": number} for name in names]
        as_csv(folder / split, rows, separator)
    (tmp_path / "m.toml").write_text('name = "m"\nkind = "regression"\nfolder = "ages"\n')
    _, clips = found(tmp_path / "m.toml")
    assert {(clip.split, clip.target) for clip in clips} == {
        ("train", (2.5,)),
        ("valid", (1.5,)),
        ("test", (2.5,)),
    }
    # Quoted, between commas: thousands or a decimal comma, which a list of semicolons can't tell.
    edit(folder / "train" / "metadata.csv", "2.5", '"2,500"')
    refused(tmp_path / "m.toml", "train/metadata.csv:2: '2,500' has a comma")


def test_a_folder_and_links_to_it_are_read_once_under_its_own_name(tmp_path, monkeypatch):
    classes(tmp_path / "digits")
    (tmp_path / "digits" / "00").symlink_to("0")
    expected = {clip.id for clip in found(f"folder:{tmp_path / 'digits'}")[1]}
    assert {name.partition("/")[0] for name in expected} == {"0", "1"}
    real = os.walk

    def backwards(top, **options):
        for parent, folders, names in real(top, **options):
            folders.sort(reverse=True)
            yield parent, folders, names

    # Whatever order the disk keeps its names in.
    monkeypatch.setattr(os, "walk", backwards)
    assert {clip.id for clip in found(f"folder:{tmp_path / 'digits'}")[1]} == expected


def test_labels_of_intervals_are_compared_as_composed_characters(tmp_path):
    for n, label in enumerate(("caf\u00e9", "cafe\u0301", "caf\u00e9", "cafe\u0301", "caf\u00e9")):
        put(recordings()[n][0], tmp_path / "songs" / f"{n}.flac")
        (tmp_path / "songs" / f"{n}.lab").write_text(f"0 0.2 {label}\n", encoding="utf-8")
    (tmp_path / "m.toml").write_text(
        'name = "m"\nkind = "segments"\nfolder = "songs"\n', encoding="utf-8"
    )
    task, clips = found(tmp_path / "m.toml")
    assert manifest.labels_of(task, clips) == ("caf\u00e9",)


# -- from the folder to the leaderboard -----------------------------------------------------------


def test_a_folder_ends_in_a_leaderboard_by_two_commands_and_changes_are_seen(tmp_path):
    folder = tmp_path / "digits"
    classes(folder)
    features, results = tmp_path / "features", tmp_path / "results"
    said = []
    options = api.RunOptions(jobs=0, reporter=Reporter(say=said.append))
    name = f"folder:{folder}"

    def extract():
        api.extract([name], ["logmel"], data=tmp_path, features=features, options=options)

    def probe():
        protocol = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1, max_epochs=2)
        # Every task with features, of which this is one.
        return api.probe(features=features, results=results, protocol=protocol)[0]

    extract()
    assert any("a folder of 2 classes, 16 files, multiclass" in line for line in said)
    assert any("no split given: 60/20/20" in line for line in said)
    first = probe()
    assert not first.cached
    assert probe().cached
    api.leaderboard(results, tmp_path / "board.md")
    assert "logmel" in (tmp_path / "board.md").read_text(encoding="utf-8")
    # The project moves as a whole: the folder is found from the list of clips.
    listed = features / "tasks" / "digits.json"
    assert manifest.read(listed).task.source == f"folder:{folder.resolve()}"
    put(recordings(takes=3)[2][0], folder / "0" / "another.flac")
    extract()
    changed = probe()
    assert not changed.cached
    assert "clips" in changed.replaced


def test_check_says_what_was_understood_and_finds_recordings_on_two_sides(tmp_path):
    folder = tmp_path / "digits"
    classes_in_splits(folder)
    leaked = next(iter((folder / "train" / "0" / "deeper").iterdir()))
    put(leaked.resolve(), folder / "test" / "1" / "other_name.flac")
    done = CliRunner().invoke(cli.main, ["data", "check", "--task", f"folder:{folder}"])
    assert done.exit_code == 1
    for part in (
        "a folder of 2 classes, 17 files",
        "splits as given",
        "the same recording in test and train: test/1/other_name.flac = train/0/deeper/",
        "with different targets",
        "FLAC 8000 Hz mono",
        "median",
    ):
        assert part in done.output
    assert listing_of(load(f"folder:{folder}")).place == folder.resolve()


def test_check_counts_by_folds_and_names_a_class_that_is_in_one_alone(tmp_path):
    folder = tmp_path / "digits"
    name = hear_folds(folder)
    done = CliRunner().invoke(cli.main, ["data", "check", "--task", name])
    assert done.exit_code == 0, done.output
    assert "4 folds, as given" in done.output
    assert re.search(r"fold +clips +groups +hours\n.*\nfold00 +4 +4", done.output)
    assert re.search(r"label +fold00 +fold01", done.output)
    edit(folder / "labelvocabulary.csv", "1,1", "1,1\n2,2")
    edit(folder / "fold02.json", '["1"]', '["2"]')
    done = CliRunner().invoke(cli.main, ["data", "check", "--task", name])
    assert done.exit_code == 1
    assert "2 is in fold fold02 alone: unknown when tested" in done.output


@pytest.mark.parametrize("ask", [api.synth, api.prepare])
def test_own_data_are_neither_made_nor_downloaded(tmp_path, ask):
    classes(tmp_path / "mine")
    with pytest.raises(TaskError, match="mine: your own data, "):
        ask([f"folder:{tmp_path / 'mine'}"], tmp_path / "data")
    assert not (tmp_path / "data").exists()
