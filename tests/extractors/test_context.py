"""Windows that a model isn't used to: what is done is said, and kept with the features."""

import json

import h5py
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from recordings import corpus

from svuprobe import api, cli
from svuprobe._errors import OptionError
from svuprobe.extractors.cache import FeatureCache
from svuprobe.extractors.context import Context
from svuprobe.extractors.extract import extract
from svuprobe.extractors.jobs import Corpus, header_for
from svuprobe.extractors.loading import load
from svuprobe.probe import identity
from svuprobe.probe.results import result_file
from svuprobe.tasks import manifest
from svuprobe.tasks.types import Windowing

OPTIONS = api.RunOptions(device="cpu", dtype="float32", jobs=0)


def call(*words):
    return CliRunner().invoke(cli.main, [str(w) for w in words])


@pytest.mark.parametrize(
    ("trained_s", "at_once_s", "window_s", "said"),
    [
        (5.0, 0.0, 30.0, "up to 30 s are longer than the 5 s that it was trained on; they go"),
        (5.0, 0.0, 30.0, "whole (--window 5 cuts"),
        (30.0, 30.0, 40.0, "longer than the 30 s that it sees at once; they go through in pieces"),
        (10.0, 10.08, 29.13, "up to 29.1 s are longer than the 10.08 s that it sees at once"),
        (30.0, 30.0, 3.0, "much shorter than the 30 s that it was trained on; they go through as"),
        (30.0, 0.0, 30.01, ""),
        (15.6, 0.0, 5.0, ""),
        (0.0, 0.0, 60.0, ""),
    ],
)  # fmt: skip
def test_windows_that_a_model_is_not_used_to_are_said_in_one_line(
    trained_s, at_once_s, window_s, said
):
    remark = Context(trained_s, at_once_s).remark("m", window_s)
    assert said in remark
    assert bool(remark) == bool(said)
    assert "\n" not in remark


@pytest.mark.parametrize(
    ("windowing", "clip_s", "longest"),
    [
        (Windowing(5.0), 30.0, 5.0),
        (Windowing(30.0), 29.1, 29.1),
        (Windowing(), 20.0, 20.0),
        # Clips taken whole are cut in equal parts where they last over a minute.
        (Windowing(), 90.0, 45.0),
    ],
)
def test_the_longest_window_is_that_of_the_longest_clip(windowing, clip_s, longest):
    assert windowing.longest_s(clip_s) == longest
    spans = windowing.spans(round(clip_s * 100), 100)
    assert max(b - a for a, b in spans) / 100 == pytest.approx(longest)


def test_what_a_model_is_used_to_lies_in_its_cache_and_changes_no_identity(tmp_path):
    clips = corpus(tmp_path / "a", 3)
    extractors = [load("svuprobe-small"), load("logmel")]
    told = []
    options = api.RunOptions(
        device="cpu", dtype="float32", jobs=0, reporter=api.Reporter(told.append)
    )
    reports = extract(extractors, Corpus("toy", Windowing(0.5), "clip", clips), tmp_path, options)
    remarks = [line for line in told if "trained on" in line]
    assert len(remarks) == 1
    assert remarks[0].startswith("svuprobe-small: windows of up to 0.5 s are much shorter than")
    with FeatureCache(reports[0].directory) as cache:
        header = cache.header
    assert (header.trained_s, header.at_once_s) == (4.0, 0.0)
    with h5py.File(reports[0].directory / "features.h5") as file:
        assert file.attrs["trained_s"] == 4.0
        assert "at_once_s" not in file.attrs
    with h5py.File(reports[1].directory / "features.h5") as file:
        assert "trained_s" not in file.attrs
    other = header_for(extractors[0], "toy", Windowing(0.5), "clip")
    assert other == header
    # A fact that becomes known, or is corrected, makes no other features of them.
    object.__setattr__(other, "trained_s", 0.0)
    assert identity.of_header(other) == identity.of_header(header)
    other.require(header, tmp_path)


def test_a_cache_from_before_the_fact_was_known_goes_on(tmp_path, monkeypatch):
    clips = corpus(tmp_path / "a", 4)
    model = [load("svuprobe-small")]
    windowing = Windowing(0.5)
    with monkeypatch.context() as before:
        before.setattr(Context, "of", classmethod(lambda cls, extractor: cls(0.0, 0.0)))
        extract(model, Corpus("toy", windowing, "clip", clips[:2]), tmp_path, OPTIONS)
    (report,) = extract(model, Corpus("toy", windowing, "clip", clips), tmp_path, OPTIONS)
    assert (report.done, report.cached, report.failures) == (2, 2, [])
    assert call("cache", "verify", tmp_path).exit_code == 0


# -- windows of one's own --------------------------------------------------------------------------


def own_task(folder, seconds=2.0):
    """Two pitches: a task on audio files, in windows of a second."""
    lines = ["path,target,split"]
    for take in range(9):
        for midi in (57, 71):
            time = np.arange(round(16000 * seconds)) / 16000
            wave = 0.1 * np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * time + take)
            soundfile.write(folder / f"{midi}-{take}.wav", wave, 16000)
            split = ("train", "valid", "test")[take // 3]
            lines.append(f"{midi}-{take}.wav,pitch{midi},{split}")
    (folder / "tones.csv").write_text("\n".join(lines) + "\n")
    toml = folder / "tones.toml"
    toml.write_text('name = "tones"\nkind = "multiclass"\nmetadata = "tones.csv"\nwindow_s = 1.0\n')
    return toml


QUICK = ("--seeds", 2, "--max-epochs", 2, "--learning-rate", 0.01, "--protocol", "linear")


def test_features_of_other_windows_are_another_cache_and_another_result(tmp_path, monkeypatch):
    toml = own_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    for window in ((), ("--window", 0.5), ("--window", 1)):
        done = call("extract", "--task", toml, "--model", "logmel", *window)
        assert done.exit_code == 0, done.output
    # Windows of a second are the task's own.
    assert "already cached" in done.output
    folders = sorted(path.name for path in (tmp_path / "features" / "logmel@v1").iterdir())
    assert folders == ["tones-0.5s-tail0.5s-clip", "tones-1s-tail1s-clip"]
    lists = sorted(path.name for path in (tmp_path / "features" / "tasks").iterdir())
    assert lists == ["tones.json", "tones.window0.5s.json"]

    assert call("probe", *QUICK).exit_code == 0
    assert call("probe", "--window", 0.5, *QUICK).exit_code == 0
    assert call("probe", "--task", toml, "--window", 0.5, *QUICK).output.count("already there") == 1
    done = call("probe", "--task", toml, "--window", 0.25, *QUICK)
    assert done.exit_code == 1
    assert "in windows of 0.25 s; run svuprobe extract" in done.output
    assert "--window 0.25" in done.output
    results = {r.task.window_s: r for r, _ in result_file.read_all(tmp_path / "results")[0]}
    assert {w: r.task.windowing for w, r in results.items()} == {
        None: "1s-tail1s",
        0.5: "0.5s-tail0.5s",
    }
    assert {w: r.counts.test.windows for w, r in results.items()} == {None: 12, 0.5: 24}

    assert call("leaderboard").exit_code == 0
    text = (tmp_path / "leaderboard.md").read_text()
    assert "\n## tones: accuracy\n" in text
    assert "\n## tones, windows of 0.5 s: accuracy\n" in text
    assert "Across tasks" not in text  # there is one, in two windowings
    body = json.loads((tmp_path / "leaderboard.json").read_text())
    assert [table["window_s"] for table in body["tables"]] in ([None, 0.5], [0.5, None])
    assert call("plot", "scores", "--out", "plots").exit_code == 0


def test_a_task_in_the_table_is_found_again_in_its_windows(tmp_path):
    api.synth(["technique"], tmp_path, clips=12)
    for window_s in (None, 1.5):
        api.extract(["technique"], ["logmel"], data=tmp_path, features=tmp_path / "f",
                    window_s=window_s, options=OPTIONS)  # fmt: skip
    (own,), _ = manifest.find(tmp_path / "f", "technique")
    (other,), _ = manifest.find(tmp_path / "f", "technique", 1.5)
    assert (own.window_s, own.task.windowing.window_s) == (None, 3.0)
    assert other.task.windowing == Windowing(1.5, 1.0, trim=True)
    assert other.folder == "technique.window1.5s.synthetic"
    # Asked for by the number, a task's own windows are its own.
    assert manifest.find(tmp_path / "f", "technique", 3.0)[0] == [own]
    assert [one.folder for one in manifest.find(tmp_path / "f", None, 1.5)[0]] == [other.folder]
    assert manifest.find(tmp_path / "f", None, 2.0) == ([], [])
    path = tmp_path / "f" / "tasks" / f"{other.folder}.json"
    path.write_text(path.read_text().replace('"window_s": 1.5', '"window_s": "1.5"'))
    ((problem,),) = [manifest.find(tmp_path / "f", "technique", 1.5)[1]]
    assert "damaged (window_s '1.5')" in problem


def test_frames_of_windows_of_any_length_lie_on_one_grid(tmp_path):
    clips = corpus(tmp_path / "a", 4, seconds=(2.1, 3.3))
    features = {}
    for window_s in (0.5, 2.0):
        corpus_of = Corpus("toy", Windowing(5.0).with_window(window_s), "frame", clips)
        (report,) = extract([load("logmel")], corpus_of, tmp_path, OPTIONS)
        with FeatureCache(report.directory) as cache:
            parts = {}
            for row, clip in enumerate(cache.clip_id.tolist()):
                parts.setdefault(clip, []).append(cache.read(row))
        features[window_s] = {clip: np.concatenate(pieces) for clip, pieces in parts.items()}
    for clip, short in features[0.5].items():
        whole = features[2.0][clip]
        # A spectrogram's frames see nothing of their window: they are the same in any.
        n = min(len(short), len(whole))
        assert abs(len(short) - len(whole)) <= 1
        np.testing.assert_array_equal(short[:n], whole[:n])


@pytest.mark.parametrize("window", ["0", "-1", "nan", "3601", "x"])
def test_a_window_is_a_number_of_seconds(window):
    for command in ("extract", "probe"):
        done = call(command, "--task", "technique", "--model", "logmel", "--window", window)
        assert done.exit_code == 2
    with pytest.raises(OptionError, match="window = "):
        api.extract(["technique"], ["logmel"], data="d", features="f", window_s=-1.0)
