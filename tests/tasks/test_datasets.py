"""The cards of the datasets: complete, honest about what may be downloaded."""

import re

import pytest

from svuprobe.tasks import TABLE, load
from svuprobe.tasks.datasets import DATASETS

# Nothing of these is for everybody.
ASKED = {"artist20", "mir-st500", "gtzan", "emomusic", "mtg-jamendo", "chords1217"}
ASKED |= {"gtsinger", "medleydb-melody", "singmos"}


def test_every_dataset_of_the_tasks_has_a_card():
    assert {load(name).dataset for name in TABLE} <= set(DATASETS)
    assert all(card.name == name for name, card in DATASETS.items())


@pytest.mark.parametrize("card", DATASETS.values(), ids=list(DATASETS))
def test_cards_are_complete(card):
    assert card.title
    assert card.licence
    assert card.hours >= 0
    assert card.size_gb >= 0
    assert card.how or card.archives or card.embedded
    assert not card.how or card.how.endswith(".")
    assert "\n" not in card.getting + card.size
    assert card.embedded or card.homepage.startswith("https://")


def test_only_what_anybody_may_download_is_downloaded():
    fetched = {name: card for name, card in DATASETS.items() if not card.embedded}
    assert {name for name, card in fetched.items() if not card.archives} == ASKED
    assert "audio" in DATASETS["giantsteps"].getting  # labels only: the previews are Beatport's


def test_archives_are_fetched_safely_and_once():
    archives = [(card.name, archive) for card in DATASETS.values() for archive in card.archives]
    urls = [url for _, archive in archives for url in archive.urls]
    assert all(url.startswith("https://") for url in urls)
    assert len(set(urls)) == len(urls)
    assert len({(name, archive.name) for name, archive in archives}) == len(archives)
    for _, archive in archives:
        assert "/" not in archive.name
        assert not archive.unpack_to.startswith(("/", ".."))
        assert archive.checksum is None or re.fullmatch(
            r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", archive.checksum
        )


def test_licences_agree_with_those_of_the_tasks():
    for task in map(load, TABLE):
        card = DATASETS[task.dataset]
        if task.licence.startswith("CC") and not card.embedded:  # those have a licence a recording
            assert task.licence[:5] == card.licence[:5]
