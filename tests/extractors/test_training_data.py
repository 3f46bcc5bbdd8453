"""What models were trained on: on record for each, with its source, and in one vocabulary."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from svuprobe import cli
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.hops import frame_rate
from svuprobe.extractors.networks.table import FAMILIES, architecture_of
from svuprobe.extractors.training_data import contact, in_folder, of_card, training_data
from svuprobe.extractors.training_table import TABLE
from svuprobe.tasks.datasets import DATASETS

DOMAINS = {"speech", "music", "general audio", "codecs"}


@pytest.mark.parametrize("key", TABLE)
def test_every_claim_has_its_source_and_names_datasets_that_there_are(key):
    data = TABLE[key]
    assert data.domain in DOMAINS
    assert data.sets
    assert data.source
    assert (data.crop_s is None) == (data.crop_source == "")
    assert {*data.holds, *data.may_hold} <= set(DATASETS)
    assert not set(data.holds) & set(data.may_hold)
    assert data.hours is None or data.hours > 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_is_on_record_of_a_model_is_that_of_its_card(name):
    card = CATALOGUE[name]
    data = of_card(card)
    if card.family == "handmade" or name == "wav2vec2-tiny":
        assert data is None
    else:
        assert data is not None, f"{name}: add what it was trained on to training_table.py"
        assert data.crop_s
    assert frame_rate(card), f"{name}: add its hop to hops.py"
    if card.family in FAMILIES:
        with torch.device("meta"):
            network = architecture_of(card.family).build(card.config, name)
        assert frame_rate(card) == network.grid.frame_rate


def test_models_are_listed_by_what_training_is_known_not_to_hold():
    def listed(*words):
        done = CliRunner().invoke(cli.main, ["models", *words])
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    everything = [row["name"] for row in json.loads(listed("--json")[0])]
    asked = ["--not-trained-on", "mtg-jamendo"]
    rows, said = listed(*asked, "--json")
    clean = [row["name"] for row in json.loads(rows)]
    left_out = [name for name in everything if name not in clean]
    assert {"wav2vec2-base", "logmel", "wav2vec2-tiny", "svuprobe-small"} <= set(clean)
    for name in left_out:  # each is named, with why
        assert f" {name}" in said
    for name in clean:
        data = of_card(CATALOGUE[name])
        if data is not None:
            assert data.read
            assert data.published
            assert "mtg-jamendo" not in {*data.holds, *data.may_hold}
    read = [name for name in left_out if of_card(CATALOGUE[name]).read]
    kinds = {contact(name, "mtg-jamendo").kind for name in read}
    assert {"holds", "unknown"} <= kinds
    of_each = {name: of_card(CATALOGUE[name]) for name in everything}
    unchecked = [name for name, data in of_each.items() if data is not None and not data.read]
    assert unchecked
    assert not set(unchecked) & set(clean)
    table, _ = listed(*asked)
    assert f"{len(clean)} of {len(everything)} models. Left out:" in table
    assert "† trained on audio of mtg-jamendo: " in table
    assert "? unchecked whether it was trained on audio of mtg-jamendo: " in table
    # A task stands for its dataset; of several each leaves out its own.
    assert listed("--not-trained-on", "mtg-genre")[0] == table
    both = json.loads(listed(*asked, "--not-trained-on", "gtzan", "--json")[0])
    assert {row["name"] for row in both} < set(clean)
    wrong = CliRunner().invoke(cli.main, ["models", "--not-trained-on", "gtzam"])
    assert wrong.exit_code == 2
    assert "no dataset or task 'gtzam'; did you mean gtzan?" in wrong.output


def test_a_model_is_known_by_its_name_and_by_its_repository_at_any_revision():
    of_name = training_data("mert-v1-95m")
    assert of_name is not None
    assert (
        of_name
        == training_data("hf:m-a-p/MERT-v1-95M@abc")
        == training_data("hf:m-a-p/MERT-v1-95M")
    )
    for nothing in ("random:mert-v1-95m", "logmel", "wav2vec2-tiny", "hf:org/name", "gone"):
        assert training_data(nothing) is None


def test_contact_is_what_the_authors_say_or_leave_open():
    assert contact("hf:mispeech/dasheng-base", "mtg-jamendo").kind == "holds"
    assert contact("hf:mispeech/dasheng-base", "gtzan").kind == "may hold"
    assert contact("hf:mispeech/dasheng-base", "vocalset") is None
    # The codec has singing of the tasks in its training data; its configuration says so.
    assert contact("hf:descript/dac_44khz", "vocalset").kind == "holds"
    assert contact("mert-v1-330m", "mtg-jamendo").kind == "unknown"
    assert contact("mert-v0-public", "emomusic").kind == "may hold"
    assert all(contact("hubert-base", dataset) is None for dataset in DATASETS)
    assert contact("hf:org/other", "gtzan").why == "nothing is on record of its training"


def test_larger_claps_differ_in_their_sets_as_their_readme_says():
    of = {name: TABLE[f"laion/larger_clap_{name}"] for name in ("music", "music_and_speech")}
    assert "AudioSet" in of["music"].sets
    assert "AudioSet" not in of["music_and_speech"].sets
    # YouTube is AudioSet's; of the music nobody knows.
    assert contact("hf:laion/larger_clap_music", "gtzan").kind == "may hold"
    assert contact("hf:laion/larger_clap_music_and_speech", "gtzan").kind == "unknown"


def test_sources_that_were_not_read_are_marked_each_for_itself():
    said = CliRunner().invoke(cli.main, ["models"]).output
    told = " ".join(said.split())
    assert "h: LibriSpeech; 20 s at once, that unchecked" in told  # wav2vec2-large
    assert (
        "Million Song Dataset (the paper's 160,000 h are of another model); 30 s at once, " in told
    )
    assert "AudioSet; 10 s at once (unchecked)" in told  # BEATs
    for data in TABLE.values():
        assert data.crop_read or data.crop_s


def test_a_model_that_svuprobe_pretrained_says_what_its_folder_says(tmp_path):
    data = training_data("svuprobe-small")
    assert (data.hours, data.crop_s) == (22.2, 4.0)
    assert data.sets == "31 sources, listed in its README.md"
    (tmp_path / "recipe.json").write_text('{"name": "x", "crop_s": 5.0}')
    (tmp_path / "README.md").write_text(
        "- Audio: 12 recordings, 0.50 hours; 1.0 hours went\n\n"
        "| source and licence | hours |\n|---|---|\n| starter, CC BY | 0.30 |\n| own | 0.20 |\n"
    )
    own = training_data(f"hf:{tmp_path}")
    assert (own.hours, own.sets, own.crop_s) == (0.5, "starter, CC BY; own", 5.0)
    # A leaderboard is the same on another machine, where that folder isn't.
    assert contact(f"hf:{tmp_path}", "starter").kind == "unknown"
    assert in_folder(Path("/nowhere")) is None
    (tmp_path / "README.md").write_text("another program's")
    assert training_data(f"hf:{tmp_path}") is None
