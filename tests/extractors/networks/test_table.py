"""What every network of svuprobe's own keeps: its cards tell the truth."""

import functools
import json

import pytest
import torch

from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.networks.table import FAMILIES, architecture_of

CARDS = [name for name, card in CATALOGUE.items() if card.family in FAMILIES]


@functools.cache
def size(family, config):
    """Rate, layers, width and weights of a network of real size, which takes no memory."""
    with torch.device("meta"):
        network = architecture_of(family).build(json.loads(config), family)
    parameters = sum(weights.numel() for weights in network.parameters())
    return network.grid.sample_rate, len(network.layer_names), network.dim, parameters


def test_every_family_has_a_card():
    assert {CATALOGUE[name].family for name in CARDS} == set(FAMILIES)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_its_network_is(name):
    card = CATALOGUE[name]
    assert architecture_of(card.family).family == card.family
    *sizes, parameters = size(card.family, json.dumps(dict(card.config)))
    assert sizes == [card.sample_rate, card.layers, card.dim]
    assert parameters == pytest.approx(card.parameters, rel=0.01)
