"""Using what was trained: the very predictions that were scored, in files that other programs
read.
"""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from safetensors import safe_open

from svuprobe import api, cli
from svuprobe._files import sha256_of
from svuprobe._tensors import save_tensors
from svuprobe.api import prediction as prediction_files
from svuprobe.extractors.base import ExtractError
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.predict import formats
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import find_clips, load
from svuprobe.tasks.kinds import transcription
from svuprobe.tasks.kinds.formats import midi
from svuprobe.tasks.kinds.multiclass import MULTICLASS
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.types import Task, Windowing

HERE = api.RunOptions(jobs=0)
QUICK = preset("linear", learning_rates=(5e-3,), seeds=2, max_epochs=30, single_layers=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, sung_once):
    """Results of three tasks of log-mel features: task -> (result file, clips by id,
    predictions).
    """
    root = tmp_path_factory.mktemp("predict")
    made = {}
    for name, clips in (("technique", 60), ("transcription", 8), ("beat", 30)):
        api.synth([name], root / "data", clips=clips)
        api.extract(
            [name], ["logmel"], data=root / "data", features=root / "features", options=HERE
        )
        (one,) = api.probe(
            [name], features=root / "features", results=root / "results", protocol=QUICK
        )
        task = load(name)
        by_id = {clip.id: clip for clip in find_clips(task, root / "data" / task.dataset)}
        with np.load(one.path.with_suffix(".npz")) as stored:
            made[name] = (one.path, by_id, {key: stored[key] for key in stored.files})
        if name == "technique":
            (one,) = api.probe(
                [name],
                features=root / "features",
                results=root / "results",
                protocol=replace(QUICK, pooling="mean_std"),
            )
            with np.load(one.path.with_suffix(".npz")) as stored:
                made["mean_std"] = (one.path, by_id, {key: stored[key] for key in stored.files})
    return made


def read_midi(path):
    """Notes (n, 3) of all tracks of a MIDI file, by onset."""
    now, open_since, notes = 0.0, {}, []
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on" and message.velocity:
            open_since.setdefault(message.note, []).append(now)
        elif message.type in ("note_on", "note_off") and open_since.get(message.note):
            notes.append((open_since[message.note].pop(0), now, message.note))
    return np.array(sorted(notes), dtype=float).reshape(-1, 3)


def predict(*words):
    return CliRunner().invoke(cli.main, ["predict", *map(str, words)])


@pytest.mark.parametrize(("which", "seed"), [("technique", 0), ("technique", 1), ("mean_std", 1)])
def test_labels_are_those_that_were_scored(runs, which, seed):
    path, clips, stored = runs[which]
    ids = list(dict.fromkeys(stored["clip_id"].tolist()))[:6]
    found = list(api.predict(path, [clips[i].path for i in ids], seed=seed, options=HERE))
    labels = json.loads(path.read_text())["task"]["labels"]
    for clip_id, prediction in zip(ids, found, strict=True):
        logits = stored["outputs"][seed][stored["clip_id"] == clip_id].astype(float)
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.allclose(prediction.window_outputs, expected, atol=2e-3)
        mean = logits.mean(axis=0)
        assert prediction.ranking[0][0] == labels[int(mean.argmax())]
        assert prediction.outputs.sum() == pytest.approx(1, abs=1e-5)


def test_a_midi_file_read_back_scores_what_the_evaluation_did(runs, tmp_path):
    path, clips, stored = runs["transcription"]
    for number, clip_id in enumerate(stored["clip_id"].tolist()):
        predictions = api.predict(path, [clips[clip_id].path], options=HERE)
        ((prediction, files),) = api.save_predictions(predictions, tmp_path)
        (midi,) = (f for f in files if f.suffix == ".mid")
        back = read_midi(midi)
        assert len(back) == len(prediction.events)
        assert np.allclose(np.sort(back[:, 0]), np.sort(prediction.events[:, 0]), atol=0.0006)
        scores = transcription.score(np.array(clips[clip_id].target), back)
        for metric in ("conpoff_f", "conp_f", "con_f"):
            assert scores[metric] == pytest.approx(stored[f"score_{metric}"][0, number], abs=0.01)


def test_beats_are_those_that_were_scored(runs, tmp_path):
    path, clips, stored = runs["beat"]
    clip_id = stored["clip_id"][0]
    predictions = api.predict(path, [clips[clip_id].path], options=HERE)
    ((prediction, files),) = api.save_predictions(predictions, tmp_path)
    mine = stored["estimate"][(stored["estimate"][:, 0] == 0) & (stored["estimate"][:, 1] == 0)][
        :, 2
    ]
    assert np.allclose(prediction.events, mine, atol=0.021)
    (text,) = (f for f in files if f.suffix == ".beats")
    assert np.allclose(np.loadtxt(text), prediction.events, atol=0.0006)


def test_many_files_one_of_them_broken(runs, tmp_path):
    path, clips, stored = runs["technique"]
    good = clips[stored["clip_id"][0]].path
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.wav").write_bytes(b"no audio")
    words = [
        "--run",
        path,
        "--audio",
        good,
        "--audio",
        tmp_path / "a" / "broken.wav",
        "--audio",
        good,
    ]
    done = predict(*words, "--out", tmp_path / "out", "--format", "json")
    assert done.exit_code == 1
    assert "1 of 3 files failed" in done.output
    assert "broken.wav: can't be decoded" in done.output
    assert len(list((tmp_path / "out").glob("*.csv"))) == 2  # the same name twice: two files
    rows = json.loads(done.stdout)
    assert {row["path"] for row in rows} == {good}
    assert sum(row["probability"] for row in rows) == pytest.approx(2, abs=1e-4)


def test_what_the_heads_can_not_answer_holds_up_no_other_file(runs, tmp_path):
    path, clips, stored = runs["technique"]
    good = clips[stored["clip_id"][0]].path
    loud = tmp_path / "lo\nud.wav"
    soundfile.write(loud, np.full(80_000, 1e30), 16_000, subtype="FLOAT")
    done = predict("--run", path, "--audio", loud, "--audio", good)
    assert done.exit_code == 1
    assert "lo\\nud.wav: logmel: features are not finite" in done.output
    assert "1 of 2 files failed" in done.output
    assert good in done.output
    with pytest.raises(ExtractError, match="not finite"):
        api.predict(path, np.full(80_000, 1e30), 16_000)


@pytest.mark.parametrize("task", ["technique", "transcription", "beat"])
def test_every_style_and_a_picture(runs, tmp_path, task):
    path, clips, stored = runs[task]
    audio = clips[stored["clip_id"][0]].path
    table = predict("--run", path, "--audio", audio, "--plot", "--out", tmp_path)
    assert table.exit_code == 0, table.output
    assert table.stdout.splitlines()[0].startswith("file")
    (picture,) = tmp_path.glob("*.png")
    assert picture.stat().st_size > 20_000
    text = predict("--run", path, "--audio", audio, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert all(row["path"] == audio for row in rows)
    for jams in tmp_path.glob("*.jams"):
        (annotation,) = json.loads(jams.read_text())["annotations"]
        assert annotation["namespace"] in ("note_midi", "beat")
        assert len(annotation["data"]) == len(rows)


def test_silence_has_no_notes_and_files_all_the_same(runs, tmp_path):
    path, _, _ = runs["transcription"]
    soundfile.write(tmp_path / "quiet.wav", np.zeros(32000), 16000)
    done = predict(
        "--run", path, "--audio", tmp_path / "quiet.wav", "--out", tmp_path / "o", "--plot"
    )
    assert done.exit_code == 0, done.output
    assert len(read_midi(tmp_path / "o" / "quiet.mid")) == 0


def test_mistakes_are_one_line(runs, tmp_path):
    path, clips, stored = runs["technique"]
    audio = clips[stored["clip_id"][0]].path
    lonely = tmp_path / "svuprobe.json"
    lonely.write_text(path.read_text())
    done = predict("--run", lonely, "--audio", audio)
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "the heads of svuprobe.json are not there" in done.output
    done = predict("--run", path, "--audio", audio, "--seed", "2")
    assert "seed 2: the result has the heads of seeds 0 to 1" in done.output
    assert predict("--run", tmp_path / "none.json", "--audio", audio).exit_code == 2


def test_overlapping_and_repeated_notes_survive_midi(tmp_path):
    notes = np.array(
        [[0.0, 1.0, 60], [0.5, 1.5, 64], [1.0, 1.2, 60], [1.2, 1.2004, 61], [2.0, 3.0, 60]]
    )
    (tmp_path / "x.mid").write_bytes(midi(notes))
    back = read_midi(tmp_path / "x.mid")
    assert np.allclose(back[:, [0, 2]], notes[:, [0, 2]], atol=0.0006)
    assert np.allclose(back[:, 1], np.maximum(notes[:, 1], notes[:, 0] + 0.001), atol=0.0006)


def test_values_of_a_regression_are_shown_as_they_are():
    task = Task(
        name="emotion", dataset="d", kind="regression", metrics=("r2",), clips=lambda root: [],
        windowing=Windowing(5.0), licence="", reference="", labels=("arousal", "valence"),
    )  # fmt: skip
    prediction = Prediction(
        "a.wav",
        task,
        5.0,
        np.zeros(1),
        np.full(1, 5.0),
        np.array([[0.25, -0.5]]),
        np.array([0.25, -0.5]),
        (("arousal", 0.25), ("valence", -0.5)),
    )
    assert "arousal 0.250, valence -0.500" in formats.summary([prediction], "table")
    assert json.loads(formats.summary([prediction], "json"))[1] == {
        "path": "a.wav",
        "label": "valence",
        "value": -0.5,
    }


# -- whose code runs, and where it writes ----------------------------------------------------------

CODE = """
from pathlib import Path
Path(__file__).with_name("it ran").touch()
import torch


class Means(torch.nn.Module):
    sample_rate, hop, receptive_field, layer_names, dim = 8000, 80, 80, ("means",), 80

    def forward(self, audio, lengths):
        return audio.unfold(1, 80, 80)[:, None], 1 + (lengths - 80) // 80
"""


def pretend_finetuned(run, name):
    """Networks beside a result as fine-tuning leaves them, of a model that is code."""
    with safe_open(run.with_suffix(".safetensors"), "pt") as file:
        task = json.loads(file.metadata()["about"])["task"]
    about = {
        "task": task,
        "model": {"name": name, "digest": "d"},
        "supervised": False,
        "protocol": {},
    }
    about |= {"dtype": "float32", "state": {}, "run": "x"}
    network = run.with_suffix("") / "seed0.safetensors"
    save_tensors(
        network, {"x": torch.zeros(1)}, {key: json.dumps(value) for key, value in about.items()}
    )
    body = json.loads(run.read_text())
    body["files"]["/seed0.safetensors"] = sha256_of(network)
    run.write_text(json.dumps(body))


@pytest.mark.parametrize("finetuned", [False, True])
def test_the_model_of_a_result_is_not_run_unless_that_is_allowed(tmp_path, finetuned):
    """A result that came from elsewhere names a file; here it is where the result says, and would
    leave a mark.
    """
    file = tmp_path / "model.py"
    file.write_text(CODE)
    rows = ["path,target,split"]
    for n, split in enumerate(["train"] * 6 + ["valid"] * 2 + ["test"] * 2):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 300 * (n % 2)) * np.arange(8000) / 8000)
        soundfile.write(tmp_path / f"{n}.wav", tone, 8000)
        rows.append(f"{n}.wav,{'ab'[n % 2]},{split}")
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    made = tmp_path / "own.toml"
    made.write_text('name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\n')
    name = f"py:{file}:Means"
    api.extract([str(made)], [name], data=tmp_path, features=tmp_path / "f", options=HERE)
    (one,) = api.probe([str(made)], features=tmp_path / "f", results=tmp_path / "r", protocol=QUICK)
    run, mark, audio = one.path, tmp_path / "it ran", tmp_path / "0.wav"
    mark.unlink()
    if finetuned:
        pretend_finetuned(run, name)
    with pytest.raises(
        ProbeError, match=r"model.py.*nothing was run: if you trust it, add --run-code"
    ):
        list(api.predict(run, [audio], options=HERE))
    done = CliRunner().invoke(cli.main, ["predict", "--run", str(run), "--audio", str(audio)])
    assert done.exit_code == 1
    assert "--run-code" in done.output
    assert not mark.exists()
    if not finetuned:
        (found,) = api.predict(run, [audio], run_code=True, options=HERE)
        assert not found.failure
        assert mark.exists()


def distinct(stems):
    names = prediction_files._Names()
    return [names.take(stem) for stem in stems]


@pytest.mark.parametrize(
    "stems",
    [
        ["take", "take", "take-2"],
        ["take-2", "take", "take"],
        ["Take", "take", "TAKE"],
        [".", "..", "...", ""],
        ["a/b", "a\\b", "a:b", "a\x00b", "a\nb"],
        ["x" * 300, "x" * 300],
    ],
)
def test_each_file_of_audio_has_a_name_of_its_own_and_none_leaves_the_folder(tmp_path, stems):
    names = distinct(stems)
    assert len({name.casefold() for name in names}) == len(stems)
    for name in names:
        assert (tmp_path / f"{name}.notes.csv").resolve().parent == tmp_path.resolve()
        (tmp_path / f"{name}.notes.csv").touch()
    assert distinct(["song", "other song"]) == ["song", "other song"]


def test_the_whole_file_is_a_marked_row_among_its_windows():
    task = replace(load("technique"), labels=("=1+1", "b"))
    windows = np.array([[0.6, 0.4], [0.2, 0.8]])
    found = Prediction(
        Path("x.wav"),
        task,
        2.0,
        np.array([0.0, 1.0]),
        np.array([1.0, 2.0]),
        windows,
        windows.mean(0),
    )
    lines = MULTICLASS.files(found)[".csv"].splitlines()
    assert lines[0] == "scope,start_s,end_s,'=1+1,b"
    assert [line.split(",")[0] for line in lines[1:]] == ["window", "window", "file"]
