"""The Python API: documented, small, loaded when asked for, and arrays in and out as files."""

import doctest
import importlib
import inspect
import subprocess
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import soundfile
import soxr
from planted import write_task

import svuprobe
from svuprobe import api
from svuprobe.api import arguments
from svuprobe.extractors.base import ExtractError
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import load_recipe
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import ProbeError, Protocol

FUNCTIONS = [
    name for name in sorted(svuprobe._FACE) if inspect.isfunction(getattr(api, name, None))
] + ["run_suite"]
SECTIONS = ("Parameters", "Returns", "Raises", "Example")
NOT_IMPERATIVE = ("What", "Whether", "Of", "Where", "Every", "The", "A", "An")
HERE = api.RunOptions(jobs=0)


def function(name):
    return svuprobe.run_suite if name == "run_suite" else getattr(api, name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_small_and_says_all_about_itself(name):
    parameters = inspect.signature(function(name)).parameters
    text = inspect.getdoc(function(name))
    assert len(parameters) <= 7
    assert text.split()[0] not in NOT_IMPERATIVE
    assert [
        section for section in SECTIONS if f"\n{section}\n{'-' * len(section)}\n" not in text
    ] == []
    described = text[text.index("\nParameters\n") :]
    assert [p for p in parameters if p not in described] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tasks_come_before_models(name):
    names = list(inspect.signature(function(name)).parameters)
    if {"tasks", "models"} <= set(names):
        assert names[:2] == ["tasks", "models"]


def test_importing_costs_nothing_and_dir_shows_everything():
    code = (
        "import sys, svuprobe; dir(svuprobe); print([m for m in ('torch', 'numpy', 'click') if m "
        "in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert set(svuprobe._FACE) <= set(dir(svuprobe))
    assert set(FUNCTIONS) >= {
        "extract",
        "probe",
        "finetune",
        "predict",
        "leaderboard",
        "run_suite",
        "load_model",
    }
    assert set(FUNCTIONS) >= {"load_task", "load_result", "load_features"}
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        svuprobe.extrct  # noqa: B018


@pytest.mark.parametrize("first", ["import svuprobe.probe.protocol", "import svuprobe.api", "pass"])
def test_probe_is_the_function_and_the_folder_whichever_comes_first(first):
    said = []
    # As in a fresh process, but that other libraries are there: theirs take seconds to read.
    with patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.split(".")[0] == "svuprobe"]:
            del sys.modules[name]
        fresh = importlib.import_module("svuprobe")
        assert fresh is not svuprobe
        exec(first, {})
        said += inspect.signature(fresh.probe).parameters
        importlib.import_module("svuprobe.probe.training.heads")
        assert callable(fresh.probe)
        assert fresh.probe.protocol is importlib.import_module("svuprobe.probe.protocol")
    assert said[:2] == ["tasks", "models"]
    assert sys.modules["svuprobe"] is svuprobe


# -- the examples ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory, sung_once):
    """A folder with data, features, a result and a song, as the examples of the docstrings have
    them.
    """
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        svuprobe.synth(["technique"], "data", clips=60)
        svuprobe.extract(
            ["technique"], ["logmel", "mfcc"], data="data", features="features", options=HERE
        )
        for models, name in (((), "linear"), (["logmel"], "knn")):
            svuprobe.probe(
                ["technique"], models, features="features", results="results", protocol=name
            )
        t = np.arange(32000) / 16000
        soundfile.write("song.wav", 0.3 * np.sin(2 * np.pi * 220 * t), 16000)
        suite = (
            'name = "small"\ntasks = ["technique"]\nmodels = ["logmel"]\nprotocols = ["linear"]\n'
        )
        (folder / "small.toml").write_text(suite)
    return folder


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_works_as_it_stands(name, world, monkeypatch):
    monkeypatch.chdir(world)
    text = inspect.getdoc(function(name))
    example = doctest.DocTestParser().get_doctest(
        text[text.index("\nExample\n") :], {}, name, None, 0
    )
    assert 1 <= len(example.examples) <= 5
    said = []
    failed = (
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append).failed
    )
    assert not failed, "".join(said)


# -- arrays ----------------------------------------------------------------------------------------


def tones(folder, rate=44100, channels=2):
    """A frame-level task of three recordings of 1 to 2 s."""
    rng = np.random.default_rng(0)
    rows = []
    for n, split in enumerate(("train", "valid", "test")):
        t = np.arange(round((1 + 0.4 * n) * rate)) / rate
        audio = 0.3 * np.sin(2 * np.pi * (200 + 90 * n) * t) + 0.05 * rng.standard_normal(
            (channels, len(t))
        )
        soundfile.write(folder / f"{n}.wav", audio.T, rate, subtype="FLOAT")
        (folder / f"{n}.beats").write_text("0.25\n0.5\n0.75\n")
        rows.append({"path": f"{n}.wav", "target": f"{n}.beats", "split": split, "group": n})
    return str(write_task(folder, "tones", "beats", rows))


@pytest.mark.parametrize("model", ["logmel", "random:wav2vec2-tiny"])
@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (16000, 1)])
def test_an_array_has_the_features_that_extraction_caches(tmp_path, model, rate, channels):
    task = tones(tmp_path, rate, channels)
    window_s = svuprobe.load_task(task).windowing.window_s
    svuprobe.extract([task], [model], data=tmp_path, features=tmp_path / "f", options=HERE)
    loaded = svuprobe.load_model(model)
    with svuprobe.load_features(tmp_path / "f", task, model) as cached:
        assert cached.layer_names == loaded.layer_names
        assert len(cached) == 3
        for clip_id, features in cached.items():
            audio, sr = soundfile.read(tmp_path / clip_id, always_2d=True)
            found = loaded(audio.T if channels > 1 else audio[:, 0], sr, window_s=window_s)
            np.testing.assert_array_equal(found, features)
            assert found.shape == (
                len(loaded.layer_names),
                len(loaded.frame_times(found.shape[1])),
                loaded.dim,
            )


def test_frame_times_are_centres_within_the_clip():
    model = svuprobe.load_model("random:wav2vec2-tiny")
    times = model.frame_times(model(np.zeros(32000) + 0.01, 32000).shape[1])
    assert times[0] == pytest.approx(model.extractor.receptive_field / 2 / 16000)
    assert 0.9 < times[-1] < 1.0


def test_a_rate_is_resampled_as_a_file_of_that_rate_is():
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal(48000).astype(np.float32)
    model = svuprobe.load_model("logmel")
    np.testing.assert_array_equal(
        model(audio, 48000), model(soxr.resample(audio, 48000, 16000), 16000)
    )


@pytest.mark.parametrize(
    ("audio", "sr", "said"),
    [
        (np.zeros(1000, np.int16), 16000, "floating point"),
        (np.zeros((2, 3, 4)), 16000, "floating point"),
        (np.zeros((48000, 2)), 16000, "more channels than samples"),
        (np.array([0.1, np.nan, 0.2]), 16000, "NaN or infinite, the first at 6.25e-05 s"),
        (np.zeros(0), 16000, "no samples"),
        (np.zeros(16000), 0, "sampling rate of 0 Hz"),
        (np.zeros(16000), float("nan"), "sampling rate of nan Hz"),
    ],
)
def test_what_is_no_audio_is_refused_in_one_line(audio, sr, said):
    with pytest.raises(ExtractError, match=said) as caught:
        svuprobe.load_model("logmel")(audio, sr)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["multiclass", "beats"])
def test_an_array_gets_the_prediction_of_its_file(tmp_path, kind):
    task = tones(tmp_path)
    if kind == "multiclass":
        rows = [
            {
                "path": f"{n}.wav",
                "target": "ab"[k],
                "split": split,
                "group": f"{n}{k}",
                "start": k / 2,
                "end": k / 2 + 0.5,
            }
            for n, split in enumerate(("train", "valid", "test"))
            for k in (0, 1)
        ]
        task = str(write_task(tmp_path, "halves", kind, rows))
    svuprobe.extract([task], ["logmel"], data=tmp_path, features=tmp_path / "f", options=HERE)
    short = Protocol(hidden=0, learning_rates=(1e-2,), seeds=1, max_epochs=2)
    (probed,) = svuprobe.probe(
        [task], features=tmp_path / "f", results=tmp_path / "r", protocol=short
    )
    (of_file,) = svuprobe.predict(probed.path, [tmp_path / "1.wav"], options=HERE)
    audio, sr = soundfile.read(tmp_path / "1.wav")
    of_array = svuprobe.predict(probed.path, audio.T, sr)
    np.testing.assert_array_equal(of_array.outputs, of_file.outputs)
    np.testing.assert_array_equal(of_array.events, of_file.events)
    np.testing.assert_array_equal(of_array.activation, of_file.activation)
    for wrong in ((audio.T, None), ([tmp_path / "1.wav"], 44100)):
        with pytest.raises(ProbeError, match="an array with its sampling rate"):
            svuprobe.predict(probed.path, *wrong)


def test_features_that_are_not_there_are_said_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(ExtractError, match="svuprobe extract --model logmel --task technique"):
        svuprobe.load_features(tmp_path, "technique", "logmel")


# -- names and paths as they are typed -------------------------------------------------------------

SEVERAL = ("tasks", "models", "protocols", "audio")


def alternatives(annotation):
    """Return what an annotation allows, and what the sequences among it hold."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is Sequence:
        return [set(alternatives(inner[0])[0])]
    sets = [set()]
    for each in inner or (annotation,):
        if typing.get_origin(each) is Sequence:
            sets.append(set(alternatives(typing.get_args(each)[0])[0]))
        else:
            sets[0].add(each)
    return sets


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_a_path_is_taken_text_is_and_where_several_are_one_is(name):
    hints = typing.get_type_hints(function(name))
    hints.pop("return")
    for parameter, annotation in hints.items():
        for allowed in alternatives(annotation):
            assert Path not in allowed or str in allowed, parameter
        if parameter in SEVERAL and name != "save_predictions":
            assert str in alternatives(annotation)[0], parameter
        if parameter in ("task", "model", "tasks", "models"):
            assert Path in alternatives(annotation)[0], parameter


def test_one_name_is_a_list_of_one_and_a_protocol_has_a_name(world, monkeypatch, tmp_path):
    monkeypatch.chdir(world)
    (report,) = svuprobe.extract(
        "technique", "logmel", data=svuprobe.Data("data"), features="features", options=HERE
    )
    assert report.cached == report.clips
    places = {"features": "features", "results": "results"}
    (of_text,) = svuprobe.probe("technique", "logmel", protocol="linear", **places)
    (of_object,) = svuprobe.probe(["technique"], ["logmel"], protocol=preset("linear"), **places)
    assert of_text.cached
    assert of_text.path == of_object.path
    assert len(svuprobe.plot_map("technique", "logmel", features="features", out=tmp_path)) == 3
    with pytest.raises(ProbeError, match="did you mean linear"):
        svuprobe.probe(protocol="liner", **places)
    assert svuprobe.synth("technique", str(tmp_path / "d"), clips=10)[0].is_dir()
    assert svuprobe.Selection(protocols="linear").protocols == ("linear",)
    data = svuprobe.Data("data", {"gtzan": "elsewhere"})
    assert data.root == Path("data")
    assert data.folder("gtzan") == Path("elsewhere")


def test_paths_name_models_and_tasks_and_presets_of_fine_tuning_have_names():
    assert arguments.model_names(Path("mine")) == [f"hf:{Path('mine').absolute()}"]
    assert arguments.task_names(Path("songs.toml")) == ["songs.toml"]
    assert arguments.task_names([Path("songs"), "technique"]) == ["folder:songs", "technique"]
    named = arguments.finetune_protocols(["released-code", "recipe"])
    assert [protocol.name for protocol in named] == ["released-code", "recipe"]
    one = api.FinetuneProtocol()
    assert arguments.finetune_protocols(one) == [one]
    with pytest.raises(ProbeError, match="did you mean released-code"):
        arguments.finetune_protocols("released-cod")


# -- reprs -----------------------------------------------------------------------------------------

# Made without a world; errors are shown by their messages.
PLAIN = (
    "ExportOptions", "FinetuneOptions", "FinetuneProtocol", "MapOptions", "PretrainOptions",
    "Protocol", "RecipeProtocol", "Reporter", "RunOptions", "Selection",
)  # fmt: skip


def test_every_public_type_fits_a_screen(world, monkeypatch):
    monkeypatch.chdir(world)
    run = "results/logmel@v1/technique.synthetic/linear.json"
    result = svuprobe.load_result(run)
    recipe = load_recipe("small", PRESETS)
    trained = {"folder": world / ("m" * 40), "seen": {"hours": 1.0}, "curve": ({"loss": 0.1},) * 99}
    instances = [getattr(svuprobe, name)() for name in PLAIN]
    instances += [
        result, result.task, result.model, result.protocol, result.counts, result.timings,
        result.ranked, recipe, svuprobe.load_task("technique"), svuprobe.load_model("logmel"),
        api.Probed(result, world / run, cached=True), api.Pretrained(recipe=recipe, **trained),
        svuprobe.Data("d" * 200, dict.fromkeys("abcdefghij", "e" * 100)),
        svuprobe.predict(run, np.sin(np.arange(96000) / 16), 32000),
        svuprobe.compare("logmel", "mfcc", "results")[0][0],
        svuprobe.cache_list("features")[0], svuprobe.check_model("logmel"),
        *svuprobe.extract("technique", "logmel", data="data", features="features", options=HERE),
        *svuprobe.embed("logmel", "song.wav", options=HERE),
        preset("ma2023", seeds=2, learning_rates=tuple(np.geomspace(1e-4, 1, 40).tolist())),
    ]  # fmt: skip
    with svuprobe.load_features("features", "technique", "logmel") as features:
        instances.append(features)
        texts = {type(each).__name__: repr(each) for each in instances}
    for name, text in texts.items():
        lines = text.split("\n")
        assert text.startswith(f"{name}("), text
        assert max(map(len, lines)) <= 80, text
        assert len(lines) <= 15, text
        assert " at 0x" not in text
    for name in api.__all__:
        kind = getattr(api, name)
        if inspect.isclass(kind) and not issubclass(kind, Exception):
            assert name in texts
    assert repr(Protocol(seeds=2)) == "Protocol(name='svuprobe', seeds=2)"
