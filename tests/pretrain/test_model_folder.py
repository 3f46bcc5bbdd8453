"""Models of the papers' size: what a step leaves loads without a weight too many or too few."""

import json

import numpy as np
import pytest
import torch
import transformers
from pretraining import melodies, note, recipe_of, trained

from svuprobe.extractors import loading
from svuprobe.pretrain.train import Training

BASE = {
    "crop_s": 0.5,
    "least_s": 0.4,
    "batch_s": 1.0,
    "steps": 1,
    "mask_span": 5,
    "cluster_share": 1.0,
    "cluster_inits": 1,
    "learning_rate": 1e-4,
}
AUDIO = note(330.0, 0.5)


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    return melodies(tmp_path_factory.mktemp("audio"), 2, seconds=0.5)


@pytest.mark.parametrize(
    ("preset", "kind", "changes", "parameters"),
    [
        ("music2vec", "Data2VecAudioModel", {}, 93.2),
        ("musichubert", "HubertModel", {"targets": ["mfcc39:20"]}, 94.4),
    ],
)
def test_a_base_model_loads_with_plain_transformers_and_here(
    tmp_path, audio, monkeypatch, preset, kind, changes, parameters
):
    monkeypatch.setattr(Training, "_save", lambda training: None)  # 1.5 GB that nobody reads
    model = trained(recipe_of(preset, **BASE | changes), audio, tmp_path / "m")
    files = {path.name for path in model.folder.iterdir()} - {"run"}
    assert files == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
        "recipe.json",
    }
    loaded, info = getattr(transformers, kind).from_pretrained(
        model.folder, output_loading_info=True
    )
    assert not any(info.values()), info
    assert sum(p.numel() for p in loaded.parameters()) / 1e6 == pytest.approx(parameters, abs=0.1)
    prepare = transformers.AutoFeatureExtractor.from_pretrained(model.folder)
    assert prepare.do_normalize is (preset == "music2vec")
    inputs = prepare(AUDIO, sampling_rate=16_000, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        theirs = loaded.eval()(inputs, output_hidden_states=True).hidden_states
        extractor = loading.load(f"hf:{model.folder}")
        extractor.to("cpu", torch.float32)
        ours, frames = extractor(torch.from_numpy(AUDIO)[None], torch.tensor([len(AUDIO)]))
    assert len(theirs) == ours.shape[1] == 13
    assert int(frames[0]) == theirs[0].shape[1] == 24
    for layer, states in enumerate(theirs):
        scale = max(1.0, states.abs().max().item())
        assert torch.allclose(ours[0, layer], states[0], atol=1e-5 * scale), layer
    described = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    assert described["architectures"] == [kind]
    assert np.isfinite(list(model.seen.losses.values())).all()
    (model.folder / "model.safetensors").unlink()
