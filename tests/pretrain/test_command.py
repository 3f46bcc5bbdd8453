"""The command: what it says, what it leaves, and how it refuses what can't be."""

import json
from dataclasses import fields

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from pretraining import TINY, melodies, trained

import svuprobe
from svuprobe import cli
from svuprobe._errors import OptionError
from svuprobe.api import pretraining
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.presets import PRESETS
from svuprobe.pretrain.recipe import PretrainError, Recipe

SHORT = TINY | {"crop_s": 0.5, "least_s": 0.3, "batch_s": 2.0, "steps": 2, "mask_span": 5}


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    return melodies(tmp_path_factory.mktemp("audio"), 3, seconds=0.75)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Leave out the picture of the curve, which takes longer than a training here."""
    monkeypatch.setattr(pretraining, "save_training_curve", lambda rows, path, name: None)


def call(*words, **fields):
    """Call the command in this process: exit code, and the lines that it says."""
    for name, value in fields.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            words += (f"--{name.replace('_', '-')}", str(each))
    done = CliRunner().invoke(cli.main, ["pretrain", *map(str, words), "--device", "cpu"])
    assert isinstance(done.exception, SystemExit | None), repr(done.exception)
    return done.exit_code, done.output.splitlines()


def refused(code, *words, **fields):
    """The one line that the command says where it refuses."""
    exit_code, lines = call(*words, **fields)
    assert exit_code == code, lines
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    return errors[0].removeprefix("Error: ")


def test_from_recordings_to_a_second_iteration(audio, tmp_path, monkeypatch):
    """The paper's two iterations: clusters of MFCC, then of block 6 of the first model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audio").mkdir()
    for path in audio.iterdir():
        (tmp_path / "audio" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "audio" / "broken.wav").write_text("no sound")
    soundfile.write(tmp_path / "audio" / "click.wav", np.array([0.1, -0.1] * 50), 16_000)
    code, lines = call(
        "musichubert",
        "--no-normalize",
        audio="audio",
        out="musichubert",
        jobs=0,
        **SHORT | {"targets": ["mfcc39:6", "semitone72:5"], "speeds": [0.9, 1.0]},
    )
    assert code == 0, lines
    text = "\n".join(lines)
    assert "left out: audio/broken.wav: " in text
    assert "musichubert (" in text
    assert "targets mfcc39:6: entropy " in text
    # The name as every command takes it, wherever it is typed.
    assert f"hf:{tmp_path / 'musichubert'}: 2 steps, 0.0 h of audio seen; " in text
    assert "accuracy semitone72 " in text
    described = json.loads((tmp_path / "musichubert" / "recipe.json").read_text())
    assert (described["targets"], described["speeds"]) == (["mfcc39:6", "semitone72:5"], [0.9, 1.0])
    assert described["normalize"] is False
    code, lines = call(
        "musichubert-iter2",
        audio="audio",
        out="second",
        jobs=0,
        **SHORT | {"targets": "layer6:5"},
    )
    assert code == 0, lines
    assert any(line.startswith("targets layer6:5: entropy") for line in lines)
    layers = svuprobe.load_model(f"hf:{tmp_path / 'second'}")(np.zeros(8000, "f4"), 16_000)
    assert (layers.shape[0], layers.shape[2]) == (13, 96)


def test_a_recipe_of_ones_own_is_a_file(audio, tmp_path):
    path = tmp_path / "mine.toml"
    numbers = {k: v for k, v in SHORT.items() if k != "size" and "cluster" not in k}
    path.write_text(
        'preset = "music2vec"\nsize = "tiny"\n'
        + "".join(f"{name} = {value}\n" for name, value in numbers.items())
    )
    code, lines = call(path, audio=audio, out=tmp_path / "m", jobs=0, top_layers=3)
    assert code == 0, lines
    assert json.loads((tmp_path / "m" / "recipe.json").read_text())["name"] == "mine"
    assert json.loads((tmp_path / "m" / "recipe.json").read_text())["top_layers"] == 3
    assert any("target std" not in line and "hf:" in line for line in lines)


def test_files_of_one_recording_may_be_given_to_the_api(audio, tmp_path):
    files = sorted(audio.iterdir())
    model = trained(PRESETS["music2vec"].with_fields(SHORT), files[:2], tmp_path / "m")
    assert model.seen.recordings == 2
    assert set(model.seen.sources) == {"files without a manifest"}
    with pytest.raises(PretrainError, match="unknown recipe 'no recipe'"):
        svuprobe.pretrain("no recipe", files, out=tmp_path / "n")


def test_what_is_refused_before_anything_is_read(audio, tmp_path):
    out = tmp_path / "m"
    for code, words, changes, message in [
        (2, ["musik2vec"], {}, "unknown recipe 'musik2vec'; did you mean music2vec"),
        (2, [tmp_path / "none.toml"], {}, "none.toml: can't be read (No such file"),
        (2, ["small"], {"crop_s": "nan"}, "nan is not a finite number"),
        (2, ["small"], {"crop_s": "-1"}, ""),
        (2, ["small"], {"speeds": "nan"}, ""),
        (2, ["small"], {"steps": "1.5"}, ""),
        (2, ["small"], {"mask_prob": "0.5"}, "No such option"),
        (2, ["small"], {"objective": "mae"}, "'mae' is not one of"),
        (1, ["small"], {"objective": "data2vec"}, "data2vec is for base and tiny"),
        (1, ["small"], {"layerdrop": "0.1"}, "layerdrop = 0.1; size = 'small' has none"),
        (1, ["small"], {"least_s": 10}, "least_s = 10.0 is more than crop_s = 4.0"),
        (1, ["small"], {"targets": "mfcc39"}, "it is a name and 2 to 65,535 clusters"),
        (1, ["small"], {"targets": "mfcc39:1"}, "it is a name and 2 to 65,535 clusters"),
        (1, ["small"], {"targets": "mfcc39:65536"}, "it is a name and 2 to 65,535 clusters"),
        (1, ["small"], {"targets": "mfcc39:-5"}, "it is a name and 2 to 65,535 clusters"),
        (1, ["small"], {"targets": "mfcc93:5"}, "did you mean mfcc39"),
        (1, ["small"], {"targets": "layer6:5"}, "name that by the field teacher"),
        (1, ["small"], {"targets": "layer6:5", "teacher": "hf:/none"}, "/none"),
        (1, ["small"], {"targets": "layer6:5", "teacher": "logml"}, "logmel"),
        (1, ["small"], {"targets": "layer9:5", "teacher": "logmel"}, "layer9; it has layers 0 to"),
    ]:
        line = refused(code, *words, audio=audio, out=out, jobs=0, **changes)
        assert message in line, (words, changes, line)
        assert not (out / "run" / "audio.i16").exists()


def test_audio_that_is_none_is_refused(audio, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refused(2, "small", audio=tmp_path / "no", out=tmp_path / "m")
    line = refused(1, "small", audio=tmp_path / "empty", out=tmp_path / "m")
    assert "no sound file there" in line
    (tmp_path / "empty" / "a.wav").write_text("no sound")
    line = refused(1, "small", audio=tmp_path / "empty", out=tmp_path / "m", jobs=0)
    assert "none of 1 sound files can be read" in line
    soundfile.write(tmp_path / "empty" / "b.wav", np.array([0.1, -0.1] * 50), 16_000)
    line = refused(
        1, "small", audio=tmp_path / "empty", out=tmp_path / "m", jobs=0, targets="mfcc39:2"
    )
    assert "no recording lasts 0.255 s" in line
    line = refused(1, "music2vec", audio=tmp_path / "empty", out=tmp_path / "n", jobs=0)
    assert "no recording lasts 2 s, which the recipe asks for (least_s = 2)" in line


def test_fewer_frames_than_clusters_are_refused(audio, tmp_path):
    line = refused(
        1, "small", audio=audio, out=tmp_path / "m", jobs=0, targets="mfcc39:5000", cluster_share=1
    )
    assert line.startswith("mfcc39:5000: ")
    assert "fewer than its clusters; give more audio, a larger cluster_share (now 1)" in line


def test_an_out_that_is_a_file_is_refused(audio, tmp_path):
    (tmp_path / "m").write_text("mine")
    refused(2, "small", audio=audio, out=tmp_path / "m")
    assert (tmp_path / "m").read_text() == "mine"


@pytest.mark.parametrize(
    "field", [{"part_s": -1.0}, {"log_every": 0}, {"save_every": True}, {"keep_every": -1}]
)
def test_options_of_the_api_are_checked(field):
    with pytest.raises(OptionError, match=next(iter(field))):
        PretrainOptions(device="cpu", **field)


def test_every_field_of_a_recipe_is_an_option():
    options = {parameter.name for parameter in cli.main.commands["pretrain"].params}
    assert {field.name for field in fields(Recipe)} - {"name"} <= options


def test_whoever_interrupts_is_told_how_to_go_on(audio, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("svuprobe.api.pretrain", interrupted)
    code, lines = call("small", audio=audio, out=tmp_path / "m")
    assert code == 130
    assert lines[-1].endswith("the same command with --resume goes on from there.")


WRONG = [None, "x", b"x", [1], ["x", 1], {}, (), float("nan"), 10**400, -1]


def made(field, value):
    """A recipe with one field given; the error where it is refused."""
    try:
        return Recipe(**{field.name: value})
    except PretrainError as error:
        return error


@pytest.mark.parametrize(
    "field", [f for f in fields(Recipe) if f.name != "name"], ids=lambda f: f.name
)
def test_a_recipe_of_the_api_is_checked_as_a_file_is(field):
    """Whatever is put into a field is one line, or what a recipe holds."""
    given = [made(field, value) for value in WRONG]
    refused = [str(each) for each in given if isinstance(each, PretrainError)]
    assert len(refused) >= 7
    for line in refused:
        assert line.startswith(f"{field.name} = ")
        assert len(line) < 200
    for recipe in given:
        if isinstance(recipe, Recipe):
            assert type(getattr(recipe, field.name)) is type(field.default)
            assert recipe.hash
    # Numbers are the same, however they are written.
    if isinstance(field.default, float) and field.default.is_integer():
        assert made(field, int(field.default)).hash == Recipe().hash
