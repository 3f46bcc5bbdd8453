"""What every network of svuprobe's own keeps: its cards tell the truth."""

import pytest
import torch

from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.networks.table import FAMILIES, architecture_of

CARDS = [name for name, card in CATALOGUE.items() if card.family in FAMILIES]


def test_every_family_has_a_card():
    assert {CATALOGUE[name].family for name in CARDS} == set(FAMILIES)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_its_network_is(name):
    card = CATALOGUE[name]
    architecture = architecture_of(card.family)
    assert architecture.family == card.family
    with torch.device("meta"):
        network = architecture.build(card.config, name)
    assert network.grid.sample_rate == card.sample_rate
    assert (len(network.layer_names), network.dim) == (card.layers, card.dim)
    parameters = sum(weights.numel() for weights in network.parameters())
    assert parameters == pytest.approx(card.parameters, rel=0.01)
