"""Models whose weights come with svuprobe: they load offline, are small, and are what they say."""

import json

import pytest
import torch

from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.loading import WEIGHTS, load, local_revision
from svuprobe.extractors.names import is_control
from svuprobe.pretrain.presets import PRESETS

SHIPPED = [name for name, card in CATALOGUE.items() if card.folder]


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request):
    return CATALOGUE[request.param], load(request.param)


def test_there_is_one():
    assert "svuprobe-small" in SHIPPED
    for name in SHIPPED:
        assert not is_control(name)
        assert is_control(f"random:{name}")


def test_a_shipped_model_is_what_its_card_says(shipped):
    card, model = shipped
    assert model.sample_rate == card.sample_rate
    assert (len(model.layer_names), model.dim) == (card.layers, card.dim)
    assert model.parameters == pytest.approx(card.parameters, rel=0.01)


def test_results_of_other_weights_of_that_name_are_told_apart(shipped):
    card, model = shipped
    assert local_revision(card.name) == model.revision


def test_a_shipped_model_takes_at_most_ten_megabytes(shipped):
    files = list((WEIGHTS / shipped[0].folder).iterdir())
    assert sum(file.stat().st_size for file in files) <= 10_000_000
    assert {"README.md", "recipe.json"} <= {file.name for file in files}


def test_its_recipe_is_the_preset_of_that_name(shipped):
    recipe = json.loads((WEIGHTS / shipped[0].folder / "recipe.json").read_text())
    assert recipe["hash"] == PRESETS[recipe["name"]].hash
    assert shipped[1].recipe == f"{recipe['name']}-{recipe['hash'][:8]}"


def test_it_is_deterministic_and_its_random_twin_is_another(shipped):
    card, model = shipped
    audio, lengths = torch.randn(1, 16000) / 10, torch.tensor([16000])
    states, frames = model(audio, lengths)
    assert torch.equal(states, load(card.name)(audio, lengths)[0])
    twin = load(f"random:{card.name}")
    assert twin.digest == load(f"random:{card.name}#0").digest
    assert len({model.digest, twin.digest, load(f"random:{card.name}#1").digest}) == 3
    other, same = twin(audio, lengths)
    assert torch.equal(frames, same)
    assert other.shape == states.shape
    assert not torch.allclose(other, states, atol=0.1)
