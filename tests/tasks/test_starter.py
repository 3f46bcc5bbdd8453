"""The recordings that come with svuprobe: whole, open, apart by group, and enough to start with."""

import configparser
import hashlib
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
from click.testing import CliRunner

from svuprobe import api
from svuprobe._progress import Reporter
from svuprobe.cli import main
from svuprobe.probe.asked_protocol import preset
from svuprobe.suites import run_suite
from svuprobe.tasks import TABLE, find_clips, kinds, load
from svuprobe.tasks.datasets import starter
from svuprobe.tasks.types import SPLITS, TaskError

ROOT = Path(__file__).parents[2]
TASKS = [name for name in TABLE if name.startswith("starter-")]
RECORDINGS = starter.recordings()
QUICK = preset("linear", learning_rates=(5e-3,), seeds=1, max_epochs=60, single_layers=False)
# How far above chance a linear head on the time means of both hand-made front ends gets.
MARGIN = {
    "starter-digits": 0.1,
    "starter-family": 0.05,
    "starter-pitch": 0.25,
    "starter-pitch-height": 0.2,
}


def test_every_recording_is_the_one_in_the_table_and_nothing_else_lies_there():
    files = {path for path in starter.FOLDER.rglob("*") if path.is_file()}
    assert files == {r.path for r in RECORDINGS} | {
        starter.FOLDER / starter.TABLE,
        starter.FOLDER / "LICENCES.md",
    }
    for recording in RECORDINGS:
        assert hashlib.sha256(recording.path.read_bytes()).hexdigest() == recording.sha256
        # Ogg files were cut from longer ones, all others are as they were.
        cut = recording.path.suffix == ".ogg"
        assert (recording.original_sha256 != recording.sha256) == cut
        assert sf.info(recording.path).duration == pytest.approx(recording.seconds, abs=1e-3)
    assert sum(r.seconds for r in RECORDINGS) / 3600 == pytest.approx(starter.HOURS, abs=0.005)


def test_together_they_are_small():
    assert sum(r.path.stat().st_size for r in RECORDINGS) < 12e6


def test_all_are_open_and_their_sources_are_named():
    text = (starter.FOLDER / "LICENCES.md").read_text(encoding="utf-8")
    for recording in RECORDINGS:
        assert recording.licence in starter.LICENCES
        assert "NC" not in recording.licence
        assert recording.author
        assert recording.source in text
        assert recording.author in text
        assert recording.licence.replace("CC-", "CC ").replace("-4.0", " 4.0") in text
        for name in recording.tasks:
            assert (
                recording.licence.replace("CC-", "CC ").replace("-4.0", " 4.0")
                in load(name).licence
            )
    counts = Counter(recording.file.split("/")[0] for recording in RECORDINGS)
    for folder, count in counts.items():
        assert f"| `{folder}` | {count} |" in text


def test_a_wheel_holds_them_all():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["svuprobe.tasks.datasets"].split()
    packed = {path for pattern in patterns for path in (ROOT / "tasks" / "datasets").glob(pattern)}
    assert {path for path in starter.FOLDER.rglob("*") if path.is_file()} <= packed


def test_a_group_and_a_recording_are_in_one_split_whatever_the_task():
    splits = defaultdict(set)
    for recording in RECORDINGS:
        splits[recording.group].add(recording.split)
        splits[recording.sha256].add(recording.split)
        assert recording.split in SPLITS
    assert {len(found) for found in splits.values()} == {1}
    assert len({recording.sha256 for recording in RECORDINGS}) == len(RECORDINGS)


def test_what_may_be_trained_on_is_told_from_what_is_scored():
    train = {recording.sha256 for recording in starter.in_splits(["train"])}
    scored = {recording.sha256 for recording in starter.in_splits(["valid", "test"])}
    assert train
    assert scored
    assert not train & scored
    originals = {recording.original_sha256 for recording in starter.in_splits(["valid", "test"])}
    assert not {recording.original_sha256 for recording in starter.in_splits(["train"])} & originals
    checksums = starter.checksums()
    assert train | scored == set(checksums.values())
    for name in TASKS:
        for clip in find_clips(load(name), starter.FOLDER):
            assert (checksums[clip.id] in train) == (clip.split == "train")


@pytest.mark.parametrize("name", TASKS)
def test_every_class_is_in_every_split_about_as_often_as_the_others(name):
    task = load(name)
    clips = find_clips(task, starter.FOLDER)
    assert Counter(clip.split for clip in clips) == task.expected
    assert task.expected["test"] > 100
    if not kinds.of(task).has_classes:
        return
    for split in SPLITS:
        counts = Counter(clip.target for clip in clips if clip.split == split)
        assert set(counts) == set(task.labels)
        assert max(counts.values()) <= 1.3 * min(counts.values())


def test_neither_pitch_nor_velocity_gives_a_family_away():
    kinds_of_notes = defaultdict(Counter)
    for recording in RECORDINGS:
        if recording.file.startswith("rendered/"):
            pitch, velocity = recording.path.stem.rsplit("-", 2)[1:]
            kinds_of_notes[recording.family, recording.split][pitch, velocity] += 1
    assert len(kinds_of_notes) == 33
    assert all(counts == kinds_of_notes["bass", "train"] for counts in kinds_of_notes.values())


def test_sung_notes_have_the_pitch_of_their_label():
    for recording in [r for r in RECORDINGS if r.file.startswith("sung/")][::5]:
        audio, rate = sf.read(recording.path, dtype="float32")
        f0_hz = librosa.yin(audio, fmin=60, fmax=400, sr=rate, frame_length=2048)
        assert np.median(librosa.hz_to_midi(f0_hz)) == pytest.approx(int(recording.midi), abs=0.5)


def test_they_need_no_data_folder_and_no_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke
    asked = [f"--task={name}" for name in TASKS]
    done = call(main, ["extract", *asked, "--model=logmel", "--model=mfcc", "--jobs=0"])
    assert done.exit_code == 0, done.output
    assert "synthetic" not in done.output
    assert not (tmp_path / "data").exists()
    probed = api.probe(TASKS, features="features", results="results", protocol=QUICK)
    assert len(probed) == 2 * len(TASKS)
    for one in probed:
        task = one.result.task
        assert not task.synthetic
        chance = one.result.chance[load(task.name).metrics[0]]
        assert one.result.ranked.mean > chance + MARGIN[task.name], one.result.model


@pytest.mark.parametrize("folder", ["empty", "none"])
def test_a_data_folder_that_is_given_changes_nothing(folder, tmp_path):
    (tmp_path / "empty" / "starter").mkdir(parents=True)
    assert api.Data(tmp_path / folder).folder("starter") == starter.FOLDER
    assert api.Data(tmp_path / folder).folder("nsynth") == tmp_path / folder / "nsynth"


def test_a_check_names_a_recording_that_was_changed(tmp_path):
    copy = shutil.copytree(starter.FOLDER, tmp_path / "copy")
    lines = []
    place = api.Data(tmp_path, {"starter": copy})
    assert api.check("starter-pitch-height", place)
    note = copy / "sung" / "C3.flac"
    audio, rate = sf.read(note)
    sf.write(note, audio[::-1], rate)
    (copy / "sung" / "G3.flac").unlink()
    assert not api.check("starter-pitch-height", place, reporter=Reporter(say=lines.append))
    problems = [line for line in lines if "sung/" in line and line.startswith("  ")]
    assert len(problems) == 2
    assert any(
        "sung/C3.flac: not the recording whose SHA-256 is listed" in line for line in problems
    )


@pytest.mark.parametrize(
    ("table", "message"), [(None, "can't be read"), ("file,split\n", "its columns are not file")]
)
def test_a_table_that_is_gone_or_another_is_named(tmp_path, table, message):
    if table is not None:
        (tmp_path / starter.TABLE).write_text(table)
    with pytest.raises(TaskError, match=f"{starter.TABLE}: {message}.*install"):
        find_clips(load("starter-pitch"), tmp_path)


def test_there_is_nothing_to_download_or_to_make(tmp_path):
    lines = []
    api.prepare(["starter-pitch"], tmp_path, reporter=Reporter(say=lines.append))
    assert lines == [
        f"starter comes with svuprobe, in {starter.FOLDER}: there is nothing to download"
    ]
    with pytest.raises(TaskError, match="starter comes with svuprobe"):
        api.synth(["starter-pitch"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_tasks_says_so():
    listed = CliRunner().invoke(main, ["tasks"]).output
    assert "The recordings of starter come with svuprobe" in listed


def test_a_suite_of_synthetic_data_takes_them_as_they_are(tmp_path):
    suite = tmp_path / "mixed.toml"
    suite.write_text(
        'name = "mixed"\nprepare = "synth"\ncontrols = ["mfcc"]\ntasks = ["starter-pitch"]\n'
        'protocols = [{ base = "linear", seeds = 1, max_epochs = 2, learning_rates = [0.01] }]\n'
    )
    assert run_suite(str(suite), data=tmp_path / "data", out=tmp_path / "out") == []
    assert list((tmp_path / "out" / "results" / "mfcc@v1").iterdir()) == [
        tmp_path / "out" / "results" / "mfcc@v1" / "starter-pitch"
    ]
