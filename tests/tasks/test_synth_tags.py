"""Synthetic music with tags: official layouts, every tag in every split, and tags that can be
heard.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from scipy import signal
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from svuprobe._progress import Reporter
from svuprobe.tasks import find_clips, kinds, tagging
from svuprobe.tasks.datasets import split_lists
from svuprobe.tasks.datasets.mtg_jamendo import HEADER
from svuprobe.tasks.manifest import labels_of
from svuprobe.tasks.mtg_jamendo import GENRE, INSTRUMENT, MOODTHEME, TOP50
from svuprobe.tasks.synth import magnatagatune, mtg_jamendo
from svuprobe.tasks.synth.instruments import DRUMS, MIDDLE, QUIET, SLOW
from svuprobe.tasks.types import SPLITS, TaskError

MTG = [GENRE, INSTRUMENT, MOODTHEME, TOP50]
WRITERS = (magnatagatune.write, mtg_jamendo.write)


def marker(root: Path) -> dict:
    return json.loads((root / "SYNTHETIC.json").read_text())


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace music by 10 ms of noise where only names matter."""

    def noise(style, seconds, rng, rate):
        return rng.uniform(-0.1, 0.1, rate // 100), []

    for module in (magnatagatune, mtg_jamendo):
        monkeypatch.setattr(module, "track", noise)


# Names, splits and tags


@pytest.mark.parametrize("clips", [30, 90, 200])
def test_every_split_has_every_tag_that_is_heard(clips):
    rows = magnatagatune.chosen_rows(clips)
    assert len({row["clip_id"] for row in rows}) == clips
    for split in SPLITS:
        own = [tagging.tags_of(row) for row in rows if row["split"] == split]
        found = {tag for target in own for tag in target}
        assert set(magnatagatune.AUDIBLE) <= found
        assert clips < 90 or found == set(tagging.TASK.labels or ())
        assert clips < 90 or () in own  # clips without a tag are in the real set too


def test_rows_are_the_official_ones_and_more_begin_with_the_same():
    rows = magnatagatune.chosen_rows(90)
    assert all(row in split_lists.read(tagging.LIST) for row in rows)
    assert rows[:30] == magnatagatune.chosen_rows(30)
    assert {row["split"] for row in rows[:3]} == set(SPLITS)


def test_tags_that_contradict_each_other_are_not_chosen():
    for row in magnatagatune.chosen_rows(200):
        found = set(tagging.tags_of(row))
        assert not {"slow", "fast"} <= found
        assert not {"loud", "quiet"} <= found
        assert not {"flute", "violin"} <= found


def test_tags_become_what_is_played():
    style = magnatagatune.style_of(
        ("cello", "drums", "indian", "quiet", "slow"), np.random.default_rng(0)
    )
    assert (style.melody, style.drums, style.level, style.bpm) == ("string", DRUMS, QUIET, SLOW)
    plain = magnatagatune.style_of((), np.random.default_rng(0))
    assert (plain.chords, plain.melody, plain.drums, plain.level) == ("organ", "", 0.0, MIDDLE)


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("clips", [3, 30])
def test_magnatagatune_is_read_as_the_real_one(tmp_path, clips):
    magnatagatune.write(tmp_path, clips, 0)
    found = find_clips(tagging.TASK, tmp_path)
    assert len(found) == clips
    assert {clip.split for clip in found} == set(SPLITS)
    assert {Path(clip.path).relative_to(tmp_path).as_posix() for clip in found} == (
        set(marker(tmp_path)["files"]) - {magnatagatune.DAMAGED}
    )


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("clips", [16, 24, None])
def test_every_split_of_every_list_has_every_tag(tmp_path, clips):
    mtg_jamendo.write(tmp_path, clips, 5)
    for task in MTG:
        found = find_clips(task, tmp_path)
        labels = labels_of(task, found)
        assert len(labels) >= 8
        for split in SPLITS:
            targets = kinds.of(task).encode(
                task, labels, [clip for clip in found if clip.split == split]
            )
            assert targets.any(axis=0).all()
            assert not targets.all(axis=0).any()
    assert len(find_clips(GENRE, tmp_path)) == (clips or 72)


@pytest.mark.usefixtures("silence")
def test_lists_of_mtg_jamendo_are_as_published(tmp_path):
    mtg_jamendo.write(tmp_path, 24, 0)
    folder = tmp_path / "mtg-jamendo-dataset/data/splits/split-0"
    assert len(list(folder.iterdir())) == 12
    for path in folder.iterdir():
        body = path.read_bytes()
        assert body.count(b"\r\n") == body.count(b"\n") == body.count(b"\r") > 1
        assert body.endswith(b"\r\n")
        header, *lines = body.decode().splitlines()
        assert header.split("\t") == list(HEADER)
        assert all(line.split("\t")[3].startswith(line.split("\t")[0][-2:]) for line in lines)
    artists = Counter(clip.group for clip in find_clips(GENRE, tmp_path))
    assert set(artists.values()) == {2}


@pytest.mark.usefixtures("silence")
def test_tracks_without_a_mood_are_not_in_that_list(tmp_path):
    mtg_jamendo.write(tmp_path, None, 0)
    everywhere, moods = (
        {clip.id for clip in find_clips(task, tmp_path)} for task in (MTG[0], MTG[2])
    )
    assert moods < everywhere


def test_tags_are_of_the_official_vocabulary_and_each_is_heard():
    styles = [made.style for made in mtg_jamendo._tracks(200, 0)]
    counts = Counter(tag for style in styles for tag in mtg_jamendo.tags_of(style))
    assert counts.keys() >= mtg_jamendo.TOP
    assert counts.keys() >= mtg_jamendo.MOODS.keys()
    assert max(counts.values()) < 140
    assert min(counts.values()) > 20


# Corpora


@pytest.mark.parametrize("write", WRITERS)
def test_same_seed_same_bytes_whatever_the_number_of_clips_and_threads(tmp_path, write):
    for name, clips, seed, jobs in (("a", 3, 7, 1), ("b", 4, 7, 2), ("c", 3, 8, 1)):
        write(tmp_path / name, clips, seed, jobs=jobs)
    a, b, c = (
        {
            path: sha
            for path, sha in marker(tmp_path / name)["files"].items()
            if path.endswith(".mp3")
        }
        for name in "abc"
    )
    assert a.items() < b.items()
    assert a.keys() == c.keys()
    assert not set(a.values()) & set(c.values())


@pytest.mark.parametrize("write", WRITERS)
def test_files_are_marked_counted_and_mono_mp3(tmp_path, write):
    write(tmp_path, 3, 0)
    found = marker(tmp_path)
    assert found["complete"] is True
    seconds = 0.0
    for path, digest in found["files"].items():
        assert hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() == digest
        if path.endswith(".mp3") and path != magnatagatune.DAMAGED:
            info = sf.info(tmp_path / path)
            assert (info.samplerate, info.channels, info.format) == (16000, 1, "MP3")
            seconds += info.duration
    assert found["seconds"] == pytest.approx(seconds, abs=0.3)


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("write", WRITERS)
def test_an_interrupted_synthesis_continues_to_the_same_bytes(tmp_path, write):
    write(tmp_path / "whole", 6, 0)

    def stop_after_two(items, total, desc, unit):
        assert total == 6
        assert "synthetic" in desc
        for n, item in enumerate(items):
            if n == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", 6, 0, Reporter(make_bar=stop_after_two), jobs=1)
    assert marker(tmp_path / "cut")["complete"] is False
    write(tmp_path / "cut", 6, 0)
    assert marker(tmp_path / "cut") == marker(tmp_path / "whole")


@pytest.mark.parametrize("write", WRITERS)
def test_other_folders_and_odd_numbers_are_refused(tmp_path, write):
    with pytest.raises(TaskError, match="--clips 2: synthetic .* has 3 to"):
        write(tmp_path / "new", 2, 0)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(TaskError, match="is not empty and has no"):
        write(tmp_path, 3, 0)


@pytest.mark.usefixtures("silence")
def test_some_tracks_of_every_split_have_two_windows():
    long = [made for made in mtg_jamendo._tracks(72, 0) if made.seconds > 31]
    assert {made.split for made in long} == set(SPLITS)
    assert len(GENRE.windowing.spans(round(long[0].seconds * 16000), 16000)) == 2


# What there is to learn


def log_mel_mean(path: str) -> np.ndarray:
    """Mean over time of the log energy in 48 bands evenly spaced on the mel scale."""
    audio, rate = sf.read(path, dtype="float32")
    hz, _, spectrum = signal.stft(audio, rate, nperseg=1024, noverlap=704)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 50) / 2595) - 1)
    up, down = (
        (hz - edges[:-2, None]) / np.diff(edges)[:-1, None],
        (edges[2:, None] - hz) / np.diff(edges)[1:, None],
    )
    return np.log(np.maximum(0, np.minimum(up, down)) @ np.abs(spectrum) ** 2 + 1e-9).mean(axis=1)


def aucs(task, root: Path) -> dict[str, float]:
    """ROC-AUC of each tag of a linear probe on means over time, on validation and test."""
    clips = find_clips(task, root)
    labels = labels_of(task, clips)
    targets, train = (
        kinds.of(task).encode(task, labels, clips),
        np.array([clip.split == "train" for clip in clips]),
    )
    features = np.stack([log_mel_mean(clip.path) for clip in clips])
    features = StandardScaler().fit(features[train]).transform(features)
    out = Ridge(20.0).fit(features[train], targets[train]).predict(features[~train])
    return {label: roc_auc_score(targets[~train, n], out[:, n]) for n, label in enumerate(labels)}


@pytest.mark.usefixtures("sung_once")
def test_tags_of_magnatagatune_are_heard(tmp_path):
    magnatagatune.write(tmp_path, 45, 0)
    found = aucs(tagging.TASK, tmp_path)
    heard = {tag: found[tag] for tag in magnatagatune.AUDIBLE}
    assert np.mean(list(heard.values())) > 0.65
    assert min(heard[tag] for tag in ("guitar", "loud", "quiet")) > 0.75


@pytest.mark.parametrize("task", MTG[:3], ids=lambda task: task.name)
def test_tags_of_mtg_jamendo_are_heard(task, mtg):
    found = aucs(task, mtg)
    assert np.mean(list(found.values())) > 0.7


@pytest.fixture(scope="module")
def mtg(tmp_path_factory: pytest.TempPathFactory, sung_once: None) -> Path:
    root = tmp_path_factory.mktemp("mtg-jamendo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtg_jamendo, "LONG_SECONDS", mtg_jamendo.SECONDS)
        mtg_jamendo.write(root, 44, 0)
    return root
