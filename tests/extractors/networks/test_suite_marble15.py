"""The suite marble15 with all its encoders, tiny, as downloads of the hub on an offline machine."""

import hashlib

import checkpoints
import pytest
import test_dasheng
import test_mert2
import test_muq
from click.testing import CliRunner

from svuprobe import cli, suite_boards
from svuprobe.benchmarks import suite
from svuprobe.extractors.catalogue import CATALOGUE
from svuprobe.extractors.networks import muq, musicfm

SIZES = muq.MuQConfig(
    8,
    32,
    test_muq.make_muq.DEPTH["musicfm"],
    num_attention_heads=test_muq.HEADS,
    intermediate_size=test_muq.INNER,
)


def _musicfm(folder):
    test_muq.published("musicfm", folder)
    for kind in ("stats.json", "pt"):
        first = next(folder.glob(f"*fma*{kind}"))
        (folder / first.name.replace("fma", "msd")).write_bytes(first.read_bytes())


WRITERS = {
    "OpenMuQ/MuQ-large-msd-iter": lambda folder: test_muq.published("muq", folder),
    "minzwon/MusicFM": _musicfm,
    "m-a-p/MERT-v2-30s": test_mert2.published,
    "m-a-p/MERT-v2-FullSong": test_mert2.published,
    "mispeech/dasheng-base": test_dasheng.on_hub,
    "mispeech/dasheng-0.6B": test_dasheng.on_hub,
    "mispeech/dasheng-1.2B": test_dasheng.on_hub,
    "m-a-p/MERT-v1-95M": lambda folder: checkpoints.write(folder, "mert-v1"),
    "m-a-p/MERT-v1-330M": lambda folder: checkpoints.write(folder, "mert-330m"),
}


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Write what a download of each whole repository leaves; the hub can't be asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(musicfm, "SIZES", SIZES)  # no file says them
    for name, write in WRITERS.items():
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        commit = hashlib.sha1(name.encode()).hexdigest()
        snapshot = repository / "snapshots" / commit
        for folder in (snapshot, repository / "refs"):
            folder.mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        write(snapshot)


@pytest.mark.usefixtures("downloads")
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_all_encoders_run_by_their_names_under_both_protocols(tmp_path, monkeypatch):
    monkeypatch.setattr(suite_boards, "KINDS", {})  # pictures take as long as all of this
    plan = suite.load("marble15")
    assert {CATALOGUE[name].hub for name in plan.models} == set(WRITERS)
    listed = ", ".join(f'"{name}"' for name in plan.models)
    quick = "seeds = 1, max_epochs = 1, learning_rates = [0.01], widen = 0"
    # (The epochs of marble are in a table of its own.)
    short = [f'base = "{one.name}", stopping = "own", {quick}' for one in plan.protocols]
    protocols = ", ".join(f"{{ {fields} }}" for fields in short)
    toml = tmp_path / "tiny.toml"
    toml.write_text(
        f'name = "tiny"\nprepare = "synth"\ntasks = ["key"]\nmodels = [{listed}]\n'
        f'controls = ["chroma"]\nprotocols = [{protocols}]\n'
        "[synth_clips]\nkey = 6\n"
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(cli.main, ["run", str(toml), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "suite tiny: 22 results, 0 of them there" in done.output
    board = (out / "leaderboard.md").read_text()
    for name in plan.models:
        assert board.count(f"| {name}@") >= len(plan.protocols) == 2
    for protocol in plan.protocols:
        assert f"Protocol `{protocol.name}` (`" in board
    assert (out / "report" / "index.html").is_file()
