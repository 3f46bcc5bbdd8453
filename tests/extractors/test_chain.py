"""The whole chain on synthetic singing, through the command line; and on labels of real
recordings.
"""

from pathlib import Path

import manifest
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from svuprobe import cli
from svuprobe.benchmarks import real_audio
from svuprobe.probe.results import result_file
from svuprobe.tasks.kinds import beat_tracking as beats, dbn, transcription as notes
from svuprobe.tasks.kinds.beats import BEATS
from svuprobe.tasks.kinds.notes import NOTES

DATA = Path(__file__).parents[1] / "data"
QUICK = ("--protocol", "linear", "--seeds", "2", "--max-epochs", "40", "--learning-rate", "0.005")


def call(*words):
    done = CliRunner().invoke(cli.main, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def chain(tmp_path_factory, sung_once):
    """Corpora, caches, results and a leaderboard of three tasks."""
    root = tmp_path_factory.mktemp("chain")
    call("data", "synth", "--task", "technique", "--out", root / "data", "--clips", 100)
    call("data", "synth", "--task", "transcription", "--out", root / "data", "--clips", 8)
    tasks = [word for task in ("technique", "singer", "transcription") for word in ("--task", task)]
    words = ("extract", *tasks, "--model", "mfcc", "--model", "logmel", "--data", root / "data")
    said = call(*words, "--features", root / "features")
    assert "technique: 100 clips" in said
    assert "mfcc on vocalset.synthetic, clip level: 100 clips done" in said  # once for both tasks
    call("probe", "--features", root / "features", "--results", root / "results", *QUICK)
    call("leaderboard", "--results", root / "results", "--out", root / "leaderboard.md")
    return root


def test_hand_made_features_beat_chance_on_synthetic_singing(chain):
    results = {
        (r.task.name, r.model.name): r for r, _ in result_file.read_all(chain / "results")[0]
    }
    assert set(results) == {
        (t, m) for t in ("technique", "singer", "transcription") for m in ("mfcc", "logmel")
    }
    for model in ("mfcc", "logmel"):
        technique = results["technique", model]
        assert technique.ranked.mean > technique.chance["accuracy"] + 0.15
        assert technique.counts.test.groups == 5  # unseen singers
    assert results["transcription", "logmel"].ranked.mean > 0.03
    assert results["transcription", "logmel"].chance["conpoff_f"] == 0


def test_everything_made_from_synthetic_audio_says_so(chain):
    for result, _ in result_file.read_all(chain / "results")[0]:
        assert result.task.synthetic
    assert (chain / "leaderboard.md").read_text().count("**Synthetic audio**") == 3
    assert {p.name.rpartition(".")[2] for p in (chain / "results").glob("*/*")} == {"synthetic"}
    caches = [p.name for p in (chain / "features").glob("*@*/*")]
    assert caches
    assert all(".synthetic-" in name for name in caches)


def test_a_second_run_does_nothing(chain):
    said = call(
        "extract",
        "--task",
        "technique",
        "--model",
        "mfcc",
        "--data",
        chain / "data",
        "--features",
        chain / "features",
    )
    assert "0 clips done, 100 already cached" in said
    said = call("probe", "--features", chain / "features", "--results", chain / "results", *QUICK)
    assert said.count("already there") == 6


def test_notes_of_a_real_song_survive_frames_and_decoding():
    reference = np.array(NOTES.read(DATA / "on_the_run.notes.csv"))
    times = (np.arange(50 * 60) + 0.625) / 50
    labels = notes.rasterise(reference, times)
    decoded = notes.decode_frames(labels[:, 0], labels[:, 1], labels[:, 2], labels[:, 3], times)
    inside = reference[reference[:, 1] < times[-1]]
    assert len(inside) > 50
    assert notes.score(inside, decoded)["con_f"] > 0.9


def test_beats_of_real_tracks_go_through_loader_decoder_and_probe(tmp_path):
    """The beats are of played music, the audio is clicks on them."""
    tracks = sorted(DATA.glob("*.beats"))
    assert len(tracks) == 2
    rows = ["path,target,split,start,end"]
    for track in tracks:
        reference = BEATS.read(track)
        activation = np.full(30 * 50, 0.02)
        activation[[round(50 * beat) for beat in reference if beat < 29.9]] = 0.9
        (found,) = dbn.decode(activation[None], 50)
        assert beats.score(reference, found)["beat_f"] > 0.95
        audio = tmp_path / f"{track.stem}.flac"
        clicks = 0.01 * np.random.default_rng(0).normal(size=30 * 16000)
        for beat in reference:
            clicks[int(16000 * beat) : int(16000 * beat) + 400] += 0.5
        soundfile.write(audio, clicks[: 30 * 16000], 16000)
        first, second = ("train", "valid") if track is tracks[0] else ("test", "train")
        rows += [f"{audio},{track},{s},{a},{a + 15}" for s, a in ((first, 0), (second, 15))]
    (tmp_path / "metal.csv").write_text("\n".join(rows) + "\n")
    toml = tmp_path / "metal.toml"
    toml.write_text(
        'name = "metal"\nkind = "beats"\nmetadata = "metal.csv"\ndisjoint_groups = false\n'
    )
    call("extract", "--model", "logmel", "--task", toml, "--features", tmp_path / "f")
    call("probe", "--task", toml, "--features", tmp_path / "f", "--results", tmp_path / "r", *QUICK)
    ((result, _),) = result_file.read_all(tmp_path / "r")[0]
    assert set(result.scores) == {"beat_f", "beat_f_20ms", "cmlt", "amlt", "beat_f_pooled"}
    assert result.ranked.mean > 0.3


def test_recordings_go_from_a_manifest_to_a_result(tmp_path):
    tomls = real_audio.write(manifest.write(tmp_path / "audio"), tmp_path)
    assert [p.stem for p in tomls] == ["digits", "speakers", "families", "songs"]
    call(
        "extract",
        "--model",
        "mfcc",
        *(w for t in tomls for w in ("--task", t)),
        "--features",
        tmp_path / "f",
    )
    call("probe", "--features", tmp_path / "f", "--results", tmp_path / "r", *QUICK)
    results = {r.task.name: r for r, _ in result_file.read_all(tmp_path / "r")[0]}
    for name in ("digits", "speakers", "families"):
        assert results[name].ranked.mean > results[name].chance["accuracy"] + 0.08, name
    assert results["songs"].counts.test.clips == 2
    assert not any(r.task.synthetic for r in results.values())
