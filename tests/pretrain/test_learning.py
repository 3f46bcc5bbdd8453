"""A small model learns notes, and what it leaves loads with plain transformers and here."""

import csv
import json
import math
import re

import h5py
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from pretraining import melodies, note, recipe_of, trained
from safetensors.torch import load_file

from svuprobe import cli
from svuprobe.extractors import loading
from svuprobe.pretrain.masking import mask_frames
from svuprobe.pretrain.networks import build
from svuprobe.pretrain.objectives import objective_of
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.spectra import Semitones
from svuprobe.pretrain.targets import target_of

CLUSTERS, STEPS = 12, 100
LEARNING = {
    "targets": [f"semitone72:{CLUSTERS}"],
    "speeds": [1.0],
    "gain_db": 0.0,
    "crop_s": 0.5,
    "batch_s": 5.0,
    "cluster_share": 1.0,
    "cluster_inits": 1,
    "mask_probability": 0.5,
    "mask_span": 5,
    "learning_rate": 2e-3,
    "steps": STEPS,
}
NAME = "semitone72"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders of ten melodies with a manifest, and of the model that is trained on them."""
    folder = tmp_path_factory.mktemp("learning")
    audio = melodies(folder / "audio", 10, seconds=0.5)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "source", "licence"])
        for number, path in enumerate(sorted(audio.iterdir())):
            source = "sines: low" if number < 5 else "more sines"
            rows.writerow([path.relative_to(folder), source, "CC0 1.0"])
    return folder / "manifest.csv", folder / "model"


@pytest.fixture(scope="module")
def model(places):
    manifest, out = places
    return trained(
        recipe_of("small", **LEARNING), manifest, out, log_every=10, keep_every=40, save_every=30
    )


def folder_with_files(folder):
    return {p.name for p in folder.iterdir() if p.is_file()}


def objective_at(folder, recipe):
    """The trained network with its heads, from the checkpoint."""
    objective = objective_of(recipe, build(recipe), [CLUSTERS])
    tensors = load_file(folder / "run" / "checkpoint.safetensors")
    weights = {
        n.removeprefix("weights/"): t for n, t in tensors.items() if n.startswith("weights/")
    }
    objective.load_state_dict(weights)
    return objective.eval()


def test_a_small_model_overfits_ten_clips(model):
    last = model.curve[-1]
    assert last["step"] == STEPS
    assert last[f"accuracy {NAME}"] > 0.9
    first = model.curve[0]
    assert first[f"loss {NAME}"] > 5 * last[f"loss {NAME}"]
    assert last[f"loss {NAME}"] < 0.3 < math.log(CLUSTERS)
    assert last["loss"] == pytest.approx(last[f"loss {NAME}"], rel=1e-6)


def test_pitch_is_told_under_the_mask_of_melodies_that_were_not_heard(tmp_path):
    heard = melodies(tmp_path / "heard", 60, seconds=1.0, note_s=0.5)
    recipe = recipe_of("small", **LEARNING | {"crop_s": 1.0, "mask_span": 4, "steps": 60})
    model = trained(recipe, heard, tmp_path / "model")
    objective = objective_at(model.folder, recipe)
    (path,) = (model.folder / "run").glob("targets-*.h5")
    with h5py.File(path) as file:
        centroids = torch.from_numpy(file["centroids"][:])
    new = melodies(tmp_path / "new", 20, seconds=1.0, note_s=0.5, seed=99)
    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(new.iterdir())]
    audio = torch.from_numpy(np.stack(clips))
    frames = objective.body.grid.n_frames(audio.shape[1])
    codes = torch.cdist(Semitones()(audio), centroids).argmin(dim=-1)[:, :frames]
    mask = mask_frames(np.random.default_rng(0), 20, frames, probability=0.5, span=4, least=1)
    with torch.no_grad():
        _, measures = objective(audio, torch.from_numpy(mask), [codes])
    unigram = torch.bincount(codes.flatten()).max().item() / codes.numel()
    assert unigram < 0.3
    assert measures[f"accuracy {NAME}"] > 1.75 * unigram


def test_the_curve_is_written_as_it_was(model):
    with (model.folder / "run" / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [*range(10, STEPS + 1, 10)]
    for row, ours in zip(rows, model.curve, strict=True):
        assert {k: float(v) for k, v in row.items()} == pytest.approx(ours, rel=1e-5)
    # Five seconds a step, less what does not fill a step.
    assert model.curve[-1]["hours"] == pytest.approx(STEPS * 5 / 3600)
    assert (model.folder / "run" / "curve.png").stat().st_size > 10_000


def test_the_card_says_what_was_heard(model):
    text = (model.folder / "README.md").read_text(encoding="utf-8")
    seen = model.seen
    assert (seen.recordings, seen.steps) == (10, STEPS)
    assert seen.hours == pytest.approx(5 / 3600)
    assert seen.hours_seen == pytest.approx(STEPS * 5 / 3600)
    assert set(seen.sources) == {"sines, CC0 1.0", "more sines, CC0 1.0"}
    for words in ("sines, CC0 1.0", model.recipe.hash, f"in {STEPS} steps", "10 recordings"):
        assert words in text
    described = json.loads((model.folder / "recipe.json").read_text(encoding="utf-8"))
    assert described.pop("hash") == model.recipe.hash
    described = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}
    assert Recipe(**described) == model.recipe


def test_what_is_saved_is_what_was_trained(model):
    ours = objective_at(model.folder, model.recipe).body.model.state_dict()
    saved = load_file(model.folder / "model.safetensors")
    assert saved.keys() == ours.keys()
    assert all(torch.equal(value, ours[name]) for name, value in saved.items())


def states_here(folder, audio):
    """Hidden states (layers, frames, dim) as every other command gets them."""
    extractor = loading.load(f"hf:{folder}")
    extractor.to("cpu", torch.float32)
    with torch.inference_mode():
        states, frames = extractor(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
    return states[0, :, : int(frames[0])]


# Sound, silence, and sound that is hardly louder than rounding.
AUDIO = np.concatenate([note(330.0, 0.6), np.zeros(4800, "f4"), 1e-4 * note(440.0, 0.3)])


def test_the_code_of_the_card_gives_what_svuprobe_extracts(model):
    text = (model.folder / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^    (states = .*)$", text, re.M)
    names = {"audio": AUDIO, "sr": 16_000}
    exec("import svuprobe\n" + line.replace("hf:FOLDER", f"hf:{model.folder}"), names)
    # A window's frames go on to its end, where the last one sees silence after it.
    ours = states_here(model.folder, np.append(AUDIO, np.zeros(240, "f4"))).numpy()
    # In float16, as a cache holds them.
    assert np.allclose(names["states"], ours, atol=1e-2)
    assert names["states"].shape == ours.shape


def test_the_network_hears_in_training_what_the_loaded_model_hears(model):
    body = objective_at(model.folder, model.recipe).body
    with torch.no_grad():
        frames, _ = body.frames(torch.from_numpy(AUDIO)[None])
        states = body.states(frames)[0]
    assert torch.allclose(states, states_here(model.folder, AUDIO)[-1], atol=1e-5)


def test_a_model_that_is_kept_on_the_way_loads_too(model):
    assert folder_with_files(model.folder / "step40") == folder_with_files(model.folder)
    early, late = (states_here(f, AUDIO) for f in (model.folder / "step40", model.folder))
    assert early.shape == late.shape
    assert not torch.allclose(early, late, atol=0.1)
    text = (model.folder / "step40" / "README.md").read_text(encoding="utf-8")
    assert "in 40 steps" in text


# The folder holds this training and no other


def test_a_training_is_not_written_over(model, places):
    with pytest.raises(PretrainError, match="holds a training; go on with --resume, or choose"):
        trained(recipe_of("small", **LEARNING), places[0], model.folder)


def test_a_finished_training_goes_on_to_the_same_files(model, places):
    before = {p.name: p.read_bytes() for p in model.folder.iterdir() if p.is_file()}
    again = trained(recipe_of("small", **LEARNING), places[0], model.folder, resume=True)
    assert {p.name: p.read_bytes() for p in model.folder.iterdir() if p.is_file()} == before
    assert again.curve == model.curve


@pytest.mark.parametrize("changes", [{"seed": 1}, {"steps": STEPS + 1}, {"mask_span": 3}])
def test_a_checkpoint_of_another_recipe_is_refused(model, places, changes):
    with pytest.raises(PretrainError) as caught:
        trained(recipe_of("small", **LEARNING | changes), places[0], model.folder, resume=True)
    line = str(caught.value)
    (name,) = changes
    assert f"of a run with another recipe ({name} = " in line
    assert "; give the same again, or delete it and start anew" in line
    assert "\n" not in line


def test_a_checkpoint_of_other_audio_is_refused(model, places, tmp_path):
    (tmp_path / "run").mkdir()
    checkpoint = (model.folder / "run" / "checkpoint.safetensors").read_bytes()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(checkpoint)
    other = melodies(tmp_path / "audio", 10, seconds=0.5, seed=5)
    with pytest.raises(PretrainError, match="another recipe or other audio"):
        trained(recipe_of("small", **LEARNING), other, tmp_path, resume=True)


def test_a_damaged_checkpoint_is_one_line(model, places, tmp_path):
    (tmp_path / "run").mkdir()
    content = (model.folder / "run" / "checkpoint.safetensors").read_bytes()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(content[:-1000])
    words = ["pretrain", "small", "--audio", str(places[0]), "--out", str(tmp_path), "--resume"]
    for name, value in LEARNING.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(each)]
    done = CliRunner().invoke(cli.main, [*words, "--jobs", "0"])
    assert done.exit_code == 1
    last = done.output.splitlines()[-1]
    assert "checkpoint.safetensors: damaged" in last
    assert "start anew without --resume" in last


def test_the_learnt_layers_are_targets_of_the_next_iteration(model, places, tmp_path):
    recipe = recipe_of(
        "musichubert-iter2",
        size="tiny",
        targets=["layer4:6"],
        teacher=f"hf:{model.folder}",
        crop_s=0.5,
        least_s=0.25,
        batch_s=5.0,
        cluster_share=1.0,
        cluster_inits=1,
        steps=1,
    )
    second = trained(recipe, places[0], tmp_path / "second")
    assert second.recipe.hash == recipe.hash
    assert set(second.seen.losses) == {"loss", "loss layer4", "accuracy layer4"}


@pytest.mark.parametrize("samples", [1, 100, 1_023])
def test_a_click_has_a_frame_of_a_layer_too(samples):
    features = target_of("layer0:2", "logmel", loading.load).features
    click = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    states = features(click)
    followed = torch.nn.functional.pad(click, (0, 1_024 - samples))
    assert len(states) == 1
    assert torch.equal(states, features(followed))
