"""Synthetic GTZAN and GiantSteps: the official layouts, beats where they sound, genres and keys to
be learnt.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svuprobe.tasks import beat, find_clips, genre, key
from svuprobe.tasks.datasets import gtzan, split_lists
from svuprobe.tasks.synth import giantsteps, gtzan as synthetic_gtzan
from svuprobe.tasks.synth.selection import spread
from svuprobe.tasks.types import Clip, Task, TaskError

WRITERS = {"gtzan": synthetic_gtzan.write, "giantsteps": giantsteps.write}


def marker(root: Path) -> dict[str, Any]:
    return json.loads((root / "SYNTHETIC.json").read_text())


def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace music by 30 ms of noise where only folders matter."""

    def noise(
        style: object, seconds: float, rng: np.random.Generator, rate: int
    ) -> tuple[np.ndarray, list[float]]:
        return rng.uniform(-0.1, 0.1, rate // 30).astype(np.float32), [0.01, 0.02]

    for module in (synthetic_gtzan, giantsteps):
        monkeypatch.setattr(module, "track", noise)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory, sung_once: None) -> dict[str, Path]:
    """The smallest copies in which every split holds every class."""
    root = tmp_path_factory.mktemp("music")
    synthetic_gtzan.write(root / "gtzan", 30, 0)
    giantsteps.write(root / "giantsteps", 72, 0)
    return {name: root / name for name in WRITERS}


# -- layout ----------------------------------------------------------------------------------------


def test_gtzan_has_the_official_layout_and_its_own_beats(copies: dict[str, Path]) -> None:
    root = copies["gtzan"]
    clips = find_clips(beat.TASK, root)
    rows = {row["track"]: row for row in split_lists.read("gtzan_fault_filtered.tsv")}
    assert (
        len(clips)
        == len(list(root.glob("genres/*/*.wav"))) - 1
        == len(list(root.glob("beats/*.beats")))
        == 30
    )
    assert all(clip.split == rows[clip.id]["split"] for clip in clips)
    files = {f"genres/{rows[c.id]['genre']}/{c.id}.wav" for c in clips} | {
        f"beats/{c.id}.beats" for c in clips
    }
    assert set(marker(root)["files"]) == files | {synthetic_gtzan.DAMAGED}
    for line in (root / f"beats/{clips[0].id}.beats").read_text().splitlines():
        time, place = line.split("\t")
        assert float(time) >= 0
        assert place in "1234"


def test_one_track_lasts_30_013_s_and_is_one_window(copies: dict[str, Path]) -> None:
    infos = [sf.info(clip.path) for clip in genre.clips(copies["gtzan"])]
    assert {(info.samplerate, info.channels, info.subtype) for info in infos} == {
        (22050, 1, "PCM_16")
    }
    frames = Counter(info.frames for info in infos)
    assert frames == {661_794: 1, 165_375: 29}
    assert all(len(genre.TASK.windowing.spans(n, 22050)) == 1 for n in frames)


def test_giantsteps_has_the_official_layout(copies: dict[str, Path]) -> None:
    root = copies["giantsteps"]
    clips = find_clips(key.TASK, root)
    assert len(clips) == 72
    for clip in clips:
        name = clip.id.zfill(7) if clip.split == "test" else clip.id
        folder = "giantsteps-key-dataset" if clip.split == "test" else "giantsteps-mtg-key-dataset"
        assert Path(clip.path) == root / folder / "audio" / f"{name}.LOFI.mp3"
    infos = [sf.info(clip.path) for clip in clips]
    assert {(info.samplerate, info.channels, info.format) for info in infos} == {(16000, 1, "MP3")}
    windows = Counter(len(key.TASK.windowing.spans(info.frames, info.samplerate)) for info in infos)
    assert windows == {1: 71, 2: 1}


@pytest.mark.parametrize(
    ("name", "task", "clips"),
    [("gtzan", genre.TASK, None), ("gtzan", genre.TASK, 30), ("giantsteps", key.TASK, None)]
    + [("giantsteps", key.TASK, 72)],
)
def test_every_split_holds_every_class(
    name: str, task: Task, clips: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(monkeypatch)
    WRITERS[name](tmp_path, clips, 0)
    found = find_clips(task, tmp_path)
    assert task.labels is not None
    assert len({(clip.split, clip.target) for clip in found}) == 3 * len(task.labels)
    splits = Counter(clip.split for clip in found)
    assert splits["train"] >= max(splits["valid"], splits["test"])
    assert len(found) == (clips or {"gtzan": 90, "giantsteps": 216}[name])


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_clips_and_threads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(monkeypatch)
    for folder, clips, seed, jobs in (("a", 20, 7, 1), ("b", 45, 7, 2), ("c", 20, 8, 1)):
        WRITERS[name](tmp_path / folder, clips, seed, jobs=jobs)
    a, b, c = (
        {p: h for p, h in marker(tmp_path / f)["files"].items() if "beats/" not in p} for f in "abc"
    )
    assert a.items() < b.items()
    assert a.keys() == c.keys()
    assert not set(a.values()) & set(c.values())


@pytest.mark.parametrize("name", WRITERS)
def test_a_lost_file_is_made_again_and_a_whole_copy_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(monkeypatch)
    write = WRITERS[name]
    write(tmp_path, 5, 0)
    before = marker(tmp_path)
    for path in (*before["files"],):
        (tmp_path / path).unlink()
        write(tmp_path, 5, 0)
        assert marker(tmp_path) == before
    times = {path: (tmp_path / path).stat().st_mtime_ns for path in before["files"]}
    write(tmp_path, 5, 0)
    assert times == {path: (tmp_path / path).stat().st_mtime_ns for path in times}


@pytest.mark.parametrize(("name", "high"), [("gtzan", 930), ("giantsteps", 1763)])
def test_no_more_clips_than_the_official_list_has(name: str, high: int, tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match=rf"--clips {high + 1}: synthetic {name} has 3 to {high} clips"
    ):
        WRITERS[name](tmp_path / "new", high + 1, 0)
    rows = split_lists.read("gtzan_fault_filtered.tsv")
    assert len(spread(rows, "genre", 930)) == 930
    assert [row["split"] for row in spread(rows, "genre", 3)] == ["test", "train", "valid"]


# -- what there is to learn ------------------------------------------------------------------------


def test_every_genre_has_a_style_and_a_tempo_that_the_tracker_knows() -> None:
    assert set(synthetic_gtzan._GENRES) == set(gtzan.GENRES)
    rng = np.random.default_rng(0)
    styles = [synthetic_gtzan.genre_style(name, rng) for name in gtzan.GENRES for _ in range(30)]
    assert all(55 < style.bpm < 215 for style in styles)
    assert len({(style.tonic, style.mode) for style in styles}) == 24


def test_beats_sound_where_they_are_annotated(copies: dict[str, Path]) -> None:
    for clip in beat.clips(copies["gtzan"]):
        audio, rate = sf.read(clip.path)
        assert max(clip.target) < len(audio) / rate
        assert sum(time >= 5 for time in clip.target) >= 2  # the first 5 s do not count
        rise = np.diff(
            np.abs(audio[: len(audio) // 220 * 220]).reshape(-1, 220).max(axis=1), prepend=0
        ).clip(0)
        at = (np.array(clip.target) * rate / 220).astype(int)
        near = np.stack([rise[np.minimum(at + step, len(rise) - 1)] for step in range(4)]).max(
            axis=0
        )
        assert near.mean() > 3 * rise.mean(), clip.id


def log_mel(clip: Clip) -> np.ndarray:
    """Time mean of 128 log-mel bands, (128,)."""
    audio, rate = sf.read(clip.path, dtype="float32")
    frames = np.lib.stride_tricks.sliding_window_view(audio, 4096)[::2048] * np.hanning(4096)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 130) / 2595) - 1)
    hz = np.fft.rfftfreq(4096, 1 / rate)
    up, down = (
        (hz - edges[:-2, None]) / np.diff(edges)[:-1, None],
        (edges[2:, None] - hz) / np.diff(edges)[1:, None],
    )
    return np.log(power @ np.maximum(0, np.minimum(up, down)).T + 1e-4).mean(axis=0)


@pytest.mark.parametrize(
    ("name", "task", "least"), [("gtzan", genre.TASK, 0.3), ("giantsteps", key.TASK, 0.4)]
)
def test_means_of_a_spectrum_tell_unseen_clips_apart(
    name: str, task: Task, least: float, copies: dict[str, Path]
) -> None:
    clips = task.clips(copies[name])
    features, labels = (
        np.stack([log_mel(clip) for clip in clips]),
        np.array([clip.target for clip in clips]),
    )
    train = np.array([clip.split != "test" for clip in clips])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    assert probe.fit(features[train], labels[train]).score(features[~train], labels[~train]) > least
