"""Synthetic EmoMusic, NSynth and Artist20: official layouts, exact bytes, something to learn in
every split.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svuprobe._progress import Reporter
from svuprobe.tasks import (
    Task,
    TaskError,
    emotion,
    find_clips,
    instrument,
    kinds,
    pitch,
    singer_artist20,
)
from svuprobe.tasks.manifest import labels_of
from svuprobe.tasks.synth import artist20, emomusic, nsynth
from svuprobe.tasks.synth.instruments import FAMILIES
from svuprobe.tasks.types import SPLITS

RATE = nsynth.SAMPLE_RATE
# Default and least number of clips.
WRITERS: dict[str, tuple[Callable[..., None], tuple[Task, ...], int, int]] = {
    "emomusic": (emomusic.write, (emotion.TASK,), 60, 3),
    "nsynth": (nsynth.write, (instrument.TASK, pitch.TASK), 198, 3),
    "artist20": (artist20.write, (singer_artist20.TASK,), 120, 12),
}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio costs nothing: 0.1 s of noise, where only files and labels matter."""

    def noise(*args: Any) -> np.ndarray:
        rng = next(a for a in args if isinstance(a, np.random.Generator))
        return 0.1 * rng.standard_normal(1600, dtype=np.float32)

    monkeypatch.setattr(emomusic, "mood", noise)
    monkeypatch.setattr(nsynth, "_played", noise)
    monkeypatch.setattr(artist20, "melody", lambda *args: (noise(*args), []))


def marker(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "SYNTHETIC.json").read_text()))


# Layout, splits and labels


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [1, 3])
def test_every_split_has_every_label_in_the_default_and_in_a_third_of_it(
    name, share, tmp_path, silent
):
    write, tasks, default, _ = WRITERS[name]
    write(tmp_path, None if share == 1 else default // share, 0)
    for task in tasks:
        clips = find_clips(task, tmp_path)
        assert len(clips) == marker(tmp_path)["clips"] == default // share
        targets = {split: {c.target for c in clips if c.split == split} for split in SPLITS}
        assert all(targets.values())
        if task.kind == "multiclass":
            assert targets["train"] == targets["valid"] == targets["test"]


@pytest.mark.parametrize("name", WRITERS)
def test_the_fewest_clips_still_fill_every_split(name, tmp_path, silent):
    write, tasks, _, least = WRITERS[name]
    write(tmp_path / "a", least, 0)
    for task in tasks:
        assert {c.split for c in find_clips(task, tmp_path / "a")} == set(SPLITS)
    with pytest.raises(TaskError, match=f"--clips {least - 1}: synthetic {name} has"):
        write(tmp_path / "b", least - 1, 0)
    assert not (tmp_path / "b").exists()


def test_a_whole_emomusic_has_the_official_counts(tmp_path, silent):
    emomusic.write(tmp_path, 744, 0)
    clips = find_clips(emotion.TASK, tmp_path)
    assert Counter(c.split for c in clips) == emotion.TASK.expected
    assert (tmp_path / "clips_45seconds" / "2.mp3").is_file()  # no leading zeros, as distributed


def test_examples_json_has_the_official_keys_and_agrees_with_the_names(tmp_path, silent):
    nsynth.write(tmp_path, None, 0)
    for split in SPLITS:
        rows = json.loads((tmp_path / f"nsynth-{split}/examples.json").read_text())
        assert {p.stem for p in (tmp_path / f"nsynth-{split}/audio").iterdir()} == set(rows)
        for name, row in rows.items():
            assert (
                name
                == row["note_str"]
                == f"{row['instrument_str']}-{row['pitch']:03d}-{row['velocity']:03d}"
            )
            family, source = row["instrument_family_str"], row["instrument_source_str"]
            assert row["instrument_str"][:-4] == f"{family}_{source}"
            assert sorted(FAMILIES)[row["instrument_family"]] == family
            assert ("acoustic", "electronic", "synthetic")[row["instrument_source"]] == source
            assert {"note", "instrument", "sample_rate", "qualities", "qualities_str"} < set(row)


def test_all_notes_there_can_be_have_their_own_names_and_numbers():
    rows = [row for _, row in nsynth._notes()]
    assert len({row["note_str"] for row in rows}) == len({row["note"] for row in rows}) == len(rows)
    assert (
        len({row["instrument_str"] for row in rows})
        == len({row["instrument"] for row in rows})
        == 66
    )
    octaves = {midi + 12 for midi in nsynth.PITCHES} & set(nsynth.PITCHES)
    assert len(octaves) == 3


@pytest.mark.parametrize(("clips", "artists"), [(12, 2), (17, 2), (40, 6), (120, 20), (250, 20)])
def test_artists_have_six_albums_however_many_songs(clips, artists, tmp_path, silent):
    artist20.write(tmp_path, clips, 0)
    found = find_clips(singer_artist20.TASK, tmp_path)
    assert len(found) == clips
    assert len(labels_of(singer_artist20.TASK, found)) == artists
    assert {c.split for c in found if c.group.endswith("/b-sides")} == {"test"}
    assert {c.split for c in found if c.group.endswith("/after_hours")} == {"valid"}


@pytest.mark.parametrize("name", WRITERS)
def test_an_interrupted_synthesis_continues_to_the_same_bytes(name, tmp_path, silent):
    write, *_ = WRITERS[name]
    write(tmp_path / "whole", 12, 0, jobs=2)

    def stop_after_two(items: Iterable[Any], total: int, desc: str, unit: str) -> Iterable[Any]:
        assert (total, desc) == (12, f"{name} (synthetic)")
        for n, item in enumerate(items):
            if n == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", 12, 0, Reporter(make_bar=stop_after_two), jobs=1)
    assert marker(tmp_path / "cut")["complete"] is False
    write(tmp_path / "cut", 12, 0, jobs=1)
    assert marker(tmp_path / "cut") == marker(tmp_path / "whole")
    write(tmp_path / "other", 12, 1)
    assert marker(tmp_path / "other")["files"] != marker(tmp_path / "whole")["files"]


# What is heard


def test_moods_differ_in_loudness_and_brightness():
    def heard(arousal: float, valence: float) -> tuple[float, float]:
        audio = emomusic.mood(arousal, valence, 4.0, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(audio)) ** 2
        hz = np.fft.rfftfreq(len(audio), 1 / RATE)
        assert np.abs(audio).max() <= 1
        return 10 * np.log10(np.mean(audio**2)), float((hz * power).sum() / power.sum())

    assert heard(1.5, 0)[0] - heard(-1.5, 0)[0] == pytest.approx(12, abs=1)
    assert heard(0, 1.5)[1] > 2 * heard(0, -1.5)[1]


def test_a_note_lasts_four_seconds_of_which_three_sound_and_has_its_velocity():
    rows = [nsynth._metadata("organ", 0, 57, velocity) for velocity in (25, 127)]
    soft, loud = (nsynth._played(row, np.random.default_rng(0)) for row in rows)
    assert len(loud) == 4 * RATE
    assert np.abs(loud[3 * RATE :]).max() < 1e-3
    assert 0.2 < np.abs(soft).max() < 0.6 * np.abs(loud).max() < 0.6


# What there is to learn


def mel_means(audio: np.ndarray) -> np.ndarray:
    """Time mean of log-mel frames, 64 ms every 32 ms, (64,)."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 1024)[::512] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 66) / 2595) - 1)
    hz = np.fft.rfftfreq(1024, 1 / RATE)
    up, down = (
        (hz - edges[:-2, None]) / np.diff(edges)[:-1, None],
        (edges[2:, None] - hz) / np.diff(edges)[1:, None],
    )
    return np.log(power @ np.maximum(0, np.minimum(up, down)).T + 1e-6).mean(axis=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, sung_once: None) -> Callable[[str, int], Path]:
    made: dict[str, Path] = {}

    def write(name: str, clips: int) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            WRITERS[name][0](made[name], clips, 0)
        return made[name]

    return write


def probe(task: Task, root: Path) -> float:
    """Accuracy, or the smaller R2, on the test split's windows of a linear probe."""
    clips = find_clips(task, root)
    targets = kinds.of(task).encode(task, labels_of(task, clips), clips)
    rows: dict[str, list[tuple[np.ndarray, Any]]] = {split: [] for split in SPLITS}
    for clip, target in zip(clips, targets, strict=True):
        audio, rate = sf.read(clip.path, dtype="float32")
        assert (rate, audio.ndim) == (RATE, 1)
        for a, b in task.windowing.spans(len(audio), rate):
            assert np.sqrt(np.mean(audio[a:b] ** 2)) > task.windowing.min_rms
            rows[clip.split].append((mel_means(audio[a:b]), target))
    x, y, x_test, y_test = (
        np.stack(part) for split in ("train", "test") for part in zip(*rows[split], strict=True)
    )
    if task.kind == "regression":
        error = make_pipeline(StandardScaler(), Ridge(10.0)).fit(x, y).predict(x_test) - y_test
        return float(
            (1 - np.square(error).sum(0) / np.square(y_test - y_test.mean(0)).sum(0)).min()
        )
    return float(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        .fit(x, y)
        .score(x_test, y_test)
    )


@pytest.mark.parametrize(
    ("task", "clips", "least"),
    [
        (emotion.TASK, 20, 0.5),
        (instrument.TASK, 132, 0.35),  # chance 1/11
        (pitch.TASK, 132, 0.6),  # chance 1/6
        (singer_artist20.TASK, 30, 0.5),  # chance 1/5
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_linear_probe_on_mel_means_learns_it(task, clips, least, corpus):
    assert probe(task, corpus(task.dataset, clips)) > least
