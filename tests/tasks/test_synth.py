"""The synthetic singers do what their techniques' names say; their corpora are safe, exact,
learnable.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from scipy import fft, signal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svuprobe._progress import Reporter
from svuprobe.tasks.datasets.vocalset import recordings
from svuprobe.tasks.synth import CORPORA, mir_st500, vocalset
from svuprobe.tasks.synth.takes import CONTEXTS, melody, perform, technique_clip
from svuprobe.tasks.synth.techniques import TECHNIQUES
from svuprobe.tasks.synth.vocal_tract import render
from svuprobe.tasks.synth.voice import (
    Audio,
    Singer,
    Syllable,
    formants,
    midi_to_hz,
    plain_singing,
    singers,
)
from svuprobe.tasks.types import TaskError

SR = 16000
CAST = singers(0)
MALE, FEMALE = CAST[12], CAST[3]
SHORT = {f"female{i}": f"f{i}" for i in range(1, 10)} | {f"male{i}": f"m{i}" for i in range(1, 12)}


def tone(
    technique: str,
    midi: float = 57.0,
    vowel: str = "a",
    singer: Singer = MALE,
    seconds: float = 3.0,
) -> Audio:
    """The steady part of one note, scaled to a peak of 1."""
    score = [Syllable(0.2, seconds - 0.2, midi, vowel)]
    audio = perform(score, singer, technique, seconds, np.random.default_rng(0), SR)
    steady = audio[round(0.6 * SR) : -round(0.5 * SR)]
    return steady / np.abs(steady).max()


def f0_hz(audio: Audio, near_hz: float) -> np.ndarray:
    """Instantaneous frequency of the first partial, taken from a band of +-40 % around
    ``near_hz``.
    """
    sos = signal.butter(4, [0.6 * near_hz, 1.4 * near_hz], "bandpass", fs=SR, output="sos")
    phase = np.unwrap(np.angle(signal.hilbert(signal.sosfiltfilt(sos, audio))))
    smoothed = signal.sosfiltfilt(signal.butter(2, 20.0, fs=SR, output="sos"), np.diff(phase))
    return smoothed[SR // 10 : -SR // 10] * SR / (2 * np.pi)


def cents(hz: np.ndarray, midi: float) -> np.ndarray:
    return 1200 * np.log2(hz / midi_to_hz(midi))


def envelope(audio: Audio, cutoff_hz: float) -> np.ndarray:
    sos = signal.butter(2, cutoff_hz, fs=SR, output="sos")
    return np.maximum(signal.sosfiltfilt(sos, np.abs(audio)), 0.0)


def strongest_hz(track: np.ndarray, low: float, high: float) -> float:
    """Frequency of the largest peak of a track's spectrum between two bounds, Hz."""
    hz, power = signal.periodogram(track - track.mean(), SR, window="hann", nfft=8 * SR)
    inside = (hz >= low) & (hz <= high)
    return float(hz[inside][power[inside].argmax()])


def band_db(audio: Audio, low: float, high: float) -> float:
    hz, power = signal.welch(audio, SR, nperseg=1024)
    return float(10 * np.log10(power[(hz >= low) & (hz < high)].sum()))


def hnr_db(audio: Audio, midi: float) -> float:
    """Harmonics-to-noise ratio from the autocorrelation of 60 ms frames (Boersma 1993), median."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 960)[::480]
    lag = round(SR / float(midi_to_hz(midi)))
    lags = range(round(0.9 * lag), round(1.1 * lag) + 1)
    scores = [
        max(np.corrcoef(frame[:-k], frame[k:])[0, 1] for k in lags)
        for frame in frames.astype(np.float64)
    ]
    r = np.clip(np.median(scores), 1e-3, 1 - 1e-6)
    return float(10 * np.log10(r / (1 - r)))


# -- techniques ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("singer", "midi"), [(MALE, 45.0), (MALE, 57.0), (FEMALE, 64.0), (FEMALE, 74.0)]
)
def test_a_straight_tone_has_the_pitch_asked_for(singer: Singer, midi: float) -> None:
    hz = f0_hz(tone("straight", midi, singer=singer), float(midi_to_hz(midi)))
    assert abs(np.median(cents(hz, midi))) < 20


@pytest.mark.parametrize("singer", [MALE, FEMALE, CAST[7], CAST[17]])
def test_vibrato_moves_at_5_to_7_hz_and_straight_does_not(singer: Singer) -> None:
    waves = {
        t: cents(f0_hz(tone(t, 60.0, singer=singer), 261.6), 60.0) for t in ("vibrato", "straight")
    }
    assert 5.0 <= strongest_hz(waves["vibrato"], 2.0, 15.0) <= 7.0
    peak = {t: np.percentile(np.abs(w - np.median(w)), 90) for t, w in waves.items()}
    assert peak["vibrato"] > 30
    assert peak["straight"] < 15


def test_trill_alternates_between_two_pitches() -> None:
    wave = cents(f0_hz(tone("trill", 60.0), 261.6), 60.0)
    low, high = np.percentile(wave, [15, 85])
    step = round((high - low) / 100)
    assert step in (1, 2)
    assert 5 <= strongest_hz(wave, 2.0, 15.0) <= 8
    assert abs(low) < 30
    middle = (wave > low + 0.3 * (high - low)) & (wave < high - 0.3 * (high - low))
    # It dwells on the two pitches, a vibrato of that width would pass through.
    assert middle.mean() < 0.35


def test_trillo_attacks_repeat_and_accelerate() -> None:
    level = envelope(tone("trillo", 57.0, seconds=4.0), 25.0)
    peaks, _ = signal.find_peaks(level, prominence=0.4 * level.max())
    rate = SR / np.diff(peaks)
    assert 4.5 < rate[:3].mean() < rate[-3:].mean() < 11
    dips = [level[a:b].min() for a, b in zip(peaks, peaks[1:], strict=False)]
    assert np.median(dips) < 0.2 * level.max()


def test_lip_trill_flutters_at_20_to_30_hz_and_is_dull() -> None:
    lips, straight = tone("lip_trill", 57.0), tone("straight", 57.0)
    assert 20 <= strongest_hz(envelope(lips, 60.0), 5.0, 80.0) <= 30
    dullness = [band_db(x, 100, 1000) - band_db(x, 2000, 6000) for x in (lips, straight)]
    assert dullness[0] > dullness[1] + 15


def test_vocal_fry_has_irregular_pulses_below_70_hz() -> None:
    level = envelope(tone("vocal_fry", 45.0), 150.0)
    peaks, _ = signal.find_peaks(level, height=0.15 * level.max(), distance=SR // 120)
    periods = np.diff(peaks) / SR
    assert 20 < 1 / np.median(periods) < 70
    assert np.std(periods) / np.mean(periods) > 0.03


@pytest.mark.parametrize("singer", [MALE, FEMALE])
def test_breathy_and_inhaled_have_the_lowest_harmonics_to_noise_ratio(singer: Singer) -> None:
    midi = singer.low_midi + 8.0
    takes = {t: tone(t, midi, singer=singer) for t in ("breathy", "belt", "straight", "inhaled")}
    hnr = {t: hnr_db(x, midi) for t, x in takes.items()}
    assert hnr["breathy"] < min(hnr["belt"], hnr["straight"]) - 5
    assert hnr["inhaled"] < hnr["straight"] - 5


def test_belt_has_a_flatter_source_than_straight_and_breathy_the_steepest() -> None:
    def fall_db(technique: str) -> float:
        rng, score = np.random.default_rng(0), [Syllable(0.1, 1.9, 50.0, "a")]
        controls = TECHNIQUES[technique](plain_singing(score, MALE, 2.0, rng), score, MALE, rng)
        # The voice without its air.
        audio = render(replace(controls, breath=np.zeros(1000)), MALE, rng, SR)
        return band_db(audio, 100, 600) - band_db(audio, 2000, 4000)

    assert fall_db("belt") + 3 < fall_db("straight") < fall_db("breathy") - 6


def test_belt_is_louder_than_breathy() -> None:
    def level(technique: str) -> float:
        clips = [
            technique_clip(singer, technique, "scales", "a", 3.2, np.random.default_rng(1), SR)
            for singer in CAST[::4]
        ]
        return float(np.mean([np.sqrt(np.mean(c**2)) for c in clips]))

    assert level("belt") > 2 * level("breathy")


def test_spoken_glides_and_holds_no_note() -> None:
    def held(technique: str) -> float:
        clip = technique_clip(MALE, technique, "long_tones", "a", 5.0, np.random.default_rng(2), SR)
        wave = cents(f0_hz(clip, 130.0), 48.0)[SR // 2 : -SR // 2]
        windows = wave[: len(wave) // 4800 * 4800].reshape(-1, 4800)  # 0.3 s
        return float(np.mean(np.ptp(windows, axis=1) < 60))

    assert held("spoken") < 0.2


# -- vowels and singers ----------------------------------------------------------------------------


def formant_peak(vowel: str, singer: Singer, low: float, high: float) -> float:
    """Peak of the spectrum of fry, whose partials lie densely enough to show the formants, Hz."""
    hz, power = signal.welch(
        tone("vocal_fry", vowel=vowel, singer=singer, seconds=2.0), SR, nperseg=256
    )
    inside = (hz >= low) & (hz <= high)
    return float(hz[inside][power[inside].argmax()])


@pytest.mark.parametrize("singer", [MALE, FEMALE])
def test_vowels_have_their_formants(singer: Singer) -> None:
    clean = replace(singer, marks=(), ring_db=0.0)
    for vowel, order in (("a", 0), ("e", 0), ("i", 1), ("e", 1)):
        expected = formants(vowel, singer)[0, order]
        found = formant_peak(vowel, clean, 0.85 * expected, 1.15 * expected)
        assert found == pytest.approx(expected, rel=0.1)
    assert formant_peak("i", clean, 900, 3500) > 1.3 * formant_peak("a", clean, 900, 3500)


def test_womens_formants_are_higher_than_mens() -> None:
    f1 = {s.name: formant_peak("a", replace(s, marks=()), 550, 1000) for s in CAST}
    women, men = (
        [hz for name, hz in f1.items() if name.startswith(sex)] for sex in ("female", "male")
    )
    assert np.mean(women) > 1.08 * np.mean(men)


def test_singers_are_named_as_in_vocalset_and_differ() -> None:
    assert [s.name for s in CAST] == list(SHORT)
    assert len({(s.tract, s.tilt_db_oct, s.marks) for s in CAST}) == 20
    assert singers(0) == CAST
    assert singers(1) != CAST
    assert all(36 <= s.low_midi < s.high_midi <= 83 for s in CAST)


# -- clips and melodies ----------------------------------------------------------------------------


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_clips_are_finite_unclipped_and_quiet_at_both_ends(technique: str) -> None:
    for context, vowel in [*((c, "u") for c in CONTEXTS), ("excerpts", "row")]:
        clip = technique_clip(FEMALE, technique, context, vowel, 3.2, np.random.default_rng(5), SR)
        assert clip.shape == (51200,)
        assert clip.dtype == np.float32
        assert np.isfinite(clip).all()
        assert 0.02 < np.abs(clip).max() < 1.0
        ends = np.concatenate([clip[:480], clip[-480:]])
        assert np.sqrt(np.mean(ends**2)) < 0.05 * np.sqrt(np.mean(clip**2)) + 0.002


def test_nothing_aliases() -> None:
    high = tone("belt", 83.0, singer=replace(FEMALE, breath=0.0, jitter=0.0, shimmer=0.0))
    hz, power = signal.welch(high, SR, nperseg=4096, window="blackmanharris")
    f0 = float(midi_to_hz(83.0))
    between = np.abs((hz / f0) % 1.0 - 0.5) < 0.25
    assert 10 * np.log10(power[between].max() / power.max()) < -45


@pytest.fixture(scope="module")
def song() -> tuple[Audio, list[tuple[float, float, int]]]:
    return melody(FEMALE, 20.0, np.random.default_rng(4), SR)


def test_notes_are_sorted_apart_and_in_range(song: tuple[Audio, list[Any]]) -> None:
    audio, notes = song
    assert len(notes) > 20
    assert all(isinstance(midi, int) and 36 <= midi <= 83 for _, _, midi in notes)
    assert all(0 <= on < off <= len(audio) / SR for on, off, _ in notes)
    assert all(a[1] <= b[0] + 1e-9 for a, b in zip(notes, notes[1:], strict=False))
    assert any(a[2] == b[2] for a, b in zip(notes, notes[1:], strict=False))


def test_every_note_sounds_at_its_pitch(song: tuple[Audio, list[Any]]) -> None:
    audio, notes = song
    errors = []
    for on, off, midi in notes:
        near = float(midi_to_hz(midi))
        sos = signal.butter(4, [0.7 * near, 1.3 * near], "bandpass", fs=SR, output="sos")
        inner = slice(round((on + 0.3 * (off - on)) * SR), round((off - 0.25 * (off - on)) * SR))
        part = signal.sosfiltfilt(sos, audio[max(inner.start - 800, 0) : inner.stop + 800])
        turns = np.diff(np.unwrap(np.angle(signal.hilbert(part))))[800:-800]
        errors.append(float(np.median(cents(turns * SR / (2 * np.pi), midi))))
    assert np.abs(errors).max() < 50
    assert np.abs(np.mean(errors)) < 15


def test_onsets_are_heard_and_rests_are_silent(song: tuple[Audio, list[Any]]) -> None:
    audio, notes = song
    level = 20 * np.log10(envelope(audio, 60.0) + 1e-6)
    at = np.array([round(on * SR) for on, _, _ in notes])
    rise = level[at + SR // 20] - np.minimum(level[at], level[at - SR // 200])
    assert np.mean(rise > 6) > 0.75  # the others are melismas: the pitch moves, the voice goes on
    rests = [(a[1], b[0]) for a, b in zip(notes, notes[1:], strict=False) if b[0] - a[1] > 0.25]
    assert rests
    for start, stop in rests:
        assert (
            level[round((start + 0.05) * SR) : round((stop - 0.08) * SR)].mean() < level.max() - 40
        )


# -- corpora ---------------------------------------------------------------------------------------


def marker(root: Path) -> dict[str, Any]:
    return json.loads((root / "SYNTHETIC.json").read_text())


def wavs(root: Path) -> list[str]:
    """What can be played: without the duplicate and the junk file of the real VocalSet."""
    return sorted(
        {p.relative_to(root).as_posix() for p in root.rglob("*.wav")} - {*vocalset.QUIRKS}
    )


def short_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace singing by 10 ms of noise where only folders matter."""

    def noise(*args: Any) -> Audio:
        return args[-2].uniform(-0.1, 0.1, 441).astype(np.float32)

    monkeypatch.setattr(vocalset, "technique_clip", noise)
    monkeypatch.setattr(mir_st500, "melody", lambda *args: (noise(*args), [(0.5, 1.0, 60)]))


def test_corpora_are_found_by_name() -> None:
    for target in CORPORA.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_same_seed_same_bytes_whatever_the_number_of_clips_and_threads(tmp_path: Path) -> None:
    for name, clips, seed, jobs in (("a", 3, 7, 1), ("b", 4, 7, 2), ("c", 3, 8, 1)):
        vocalset.write(tmp_path / name, clips, seed, jobs=jobs)
    a, b, c = (marker(tmp_path / name)["files"] for name in "abc")
    assert a.items() < b.items()
    assert a.keys() == c.keys()
    assert not set(a.values()) & set(c.values())


def test_vocalset_layout(tmp_path: Path) -> None:
    vocalset.write(tmp_path, 3, 0)
    found = marker(tmp_path)
    assert {k: found[k] for k in ("synthetic", "dataset", "seed", "clips", "complete")} == {
        "synthetic": True,
        "dataset": "vocalset",
        "seed": 0,
        "clips": 3,
        "complete": True,
    }
    assert sorted(found["files"]) == sorted([*wavs(tmp_path), *vocalset.QUIRKS])
    total = 0.0
    for path, digest in found["files"].items():
        if path in vocalset.QUIRKS:
            continue
        info = sf.info(tmp_path / path)
        assert (info.samplerate, info.channels, info.subtype) == (44100, 1, "PCM_16")
        assert 3.2 <= info.duration <= 7.0
        assert hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() == digest
        total += info.duration
    assert found["seconds"] == pytest.approx(total, abs=0.01)


def test_vocalset_names_and_balance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_takes(monkeypatch)
    vocalset.write(tmp_path, None, 0)
    paths = wavs(tmp_path)
    assert len(paths) == 400
    for path in paths:
        top, singer, context, technique, name = path.split("/")
        rest = (
            rf"(caro|dona|row)_{technique}"
            if context == "excerpts"
            else rf"{context}_{technique}_[aeiou]"
        )
        assert top == "FULL"
        assert context in (*CONTEXTS, "excerpts")
        misnamed = (singer, technique) == ("female4", "straight") and context in (
            "scales",
            "arpeggios",
        )
        assert re.fullmatch(rf"{'' if misnamed else SHORT[singer] + '_'}{rest}\.wav", name)
    pairs = Counter((p.split("/")[1], p.split("/")[3]) for p in paths)
    assert len(pairs) == 200
    assert set(pairs.values()) == {2}
    assert all("/excerpts/" in p for p in paths if "/spoken/" in p)
    # The loader takes the singer from the folder and drops the quirks.
    loaded = recordings(tmp_path)
    assert sorted(f"FULL/{r.id}.wav" for r in loaded) == paths


@pytest.mark.parametrize("clips", [30, 100])
def test_every_split_of_every_technique_has_clips(
    clips: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_takes(monkeypatch)
    vocalset.write(tmp_path, clips, 0)
    split_of = {s: split for split, group in vocalset.SPLIT_SINGERS.items() for s in group}
    assert sorted(split_of) == sorted(SHORT)
    cells = Counter((split_of[p.split("/")[1]], p.split("/")[3]) for p in wavs(tmp_path))
    assert len(wavs(tmp_path)) == clips
    assert len(cells) == 30
    if clips == 100:
        assert len({p.split("/")[1] for p in wavs(tmp_path)}) == 20


def test_mir_st500_layout(tmp_path: Path) -> None:
    mir_st500.write(tmp_path, 3, 0)
    notes = json.loads((tmp_path / "MIR-ST500_corrected.json").read_text())
    assert wavs(tmp_path) == ["test/401/Vocal.wav", "train/1/Vocal.wav", "train/361/Vocal.wav"]
    assert sorted(notes) == ["1", "361", "401"]
    for path in wavs(tmp_path):
        info = sf.info(tmp_path / path)
        assert (info.samplerate, info.channels, info.subtype) == (44100, 1, "PCM_16")
        song = notes[path.split("/")[1]]
        assert len(song) > 15
        assert max(off for _, off, _ in song) < info.duration
    assert sorted(marker(tmp_path)["files"]) == ["MIR-ST500_corrected.json", *wavs(tmp_path)]


@pytest.mark.parametrize(
    ("clips", "sizes"), [(None, (14, 4, 6)), (3, (1, 1, 1)), (500, (360, 40, 100))]
)
def test_songs_lie_in_the_official_ranges(
    clips: int | None, sizes: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_takes(monkeypatch)
    mir_st500.write(tmp_path, clips, 0)
    songs = [(p.split("/")[0], int(p.split("/")[1])) for p in wavs(tmp_path)]
    assert all((folder == "test") == (song >= 401) for folder, song in songs)
    assert np.histogram([song for _, song in songs], [1, 361, 401, 501])[0].tolist() == list(sizes)


# -- safety of folders -----------------------------------------------------------------------------


def test_a_folder_that_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "FULL").mkdir()
    with pytest.raises(
        TaskError, match=r"is not empty and has no SYNTHETIC\.json.*choose another --out"
    ):
        vocalset.write(tmp_path, 3, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["FULL"]


@pytest.mark.parametrize(
    ("clips", "seed", "said"), [(3, 1, "seed=0, asked for 1"), (4, 0, "clips=3, asked for 4")]
)
def test_another_corpus_is_refused_with_both_values(
    clips: int, seed: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_takes(monkeypatch)
    mir_st500.write(tmp_path, 3, 0)
    with pytest.raises(TaskError, match=f"{said}: delete the folder"):
        mir_st500.write(tmp_path, clips, seed)


def test_a_broken_marker_and_a_bad_count_are_refused(tmp_path: Path) -> None:
    (tmp_path / "SYNTHETIC.json").write_text("{")
    with pytest.raises(TaskError, match="can't be read as JSON"):
        vocalset.write(tmp_path, 3, 0)
    with pytest.raises(TaskError, match=r"--clips 2: synthetic vocalset has 3 to 3600 clips"):
        vocalset.write(tmp_path / "new", 2, 0)
    with pytest.raises(TaskError, match="--seed -1: a seed is 0 or more"):
        mir_st500.write(tmp_path / "new", 3, -1)
    assert not (tmp_path / "new").exists()


def test_a_finished_corpus_is_reused_and_a_lost_file_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_takes(monkeypatch)
    vocalset.write(tmp_path, 5, 0)
    before = marker(tmp_path)
    times = {p: (tmp_path / p).stat().st_mtime_ns for p in [*before["files"], "SYNTHETIC.json"]}
    vocalset.write(tmp_path, 5, 0)
    assert times == {p: (tmp_path / p).stat().st_mtime_ns for p in times}
    lost = tmp_path / next(iter(before["files"]))
    lost.unlink()
    vocalset.write(tmp_path, 5, 0)
    assert lost.exists()
    assert marker(tmp_path) == before


@pytest.mark.parametrize("write", [vocalset.write, mir_st500.write])
def test_an_interrupted_synthesis_continues_to_the_same_bytes(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_takes(monkeypatch)
    write(tmp_path / "whole", 6, 0)

    def stop_after_two(items: Iterable[Any], total: int, desc: str, unit: str) -> Iterable[Any]:
        assert total == 6
        assert "synthetic" in desc
        for i, item in enumerate(items):
            if i == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", 6, 0, Reporter(make_bar=stop_after_two), jobs=1)
    assert marker(tmp_path / "cut")["complete"] is False
    write(tmp_path / "cut", 6, 0)
    assert marker(tmp_path / "cut") == marker(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.part"))


# -- what there is to learn ------------------------------------------------------------------------


def log_mel(audio: Audio, sample_rate: int) -> np.ndarray:
    """Log-mel frames, 64 ms every 20 ms, shape (frames, 128)."""
    size, hop = fft.next_fast_len(round(0.064 * sample_rate)), round(0.02 * sample_rate)
    window = np.hanning(size).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop] * window
    power = np.abs(fft.rfft(frames, axis=1)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 130) / 2595) - 1)
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    up = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    return np.log(power @ np.maximum(0, np.minimum(up, down)).T + 1e-4)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory, sung_once: None) -> dict[str, np.ndarray]:
    """Time means of the log-mel frames of 3 s windows of 200 clips, with singer and technique."""
    root = tmp_path_factory.mktemp("vocalset")
    vocalset.write(root, 200, 0)
    rows: list[tuple[np.ndarray, str, str, str]] = []
    for path in wavs(root):
        audio, rate = sf.read(root / path, dtype="float32")
        _, singer, _, technique, _ = path.split("/")
        for start in range(0, len(audio) - rate, 3 * rate):
            mean = log_mel(audio[start : start + 3 * rate], rate).mean(axis=0)
            rows.append((mean, technique, singer, path))
    columns = (np.array(column) for column in zip(*rows, strict=True))
    return dict(zip(("mean", "technique", "singer", "path"), columns, strict=True))


def accuracy(features: np.ndarray, labels: np.ndarray, test: np.ndarray) -> float:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return float(probe.fit(features[~test], labels[~test]).score(features[test], labels[test]))


def test_means_tell_some_techniques_of_new_singers(
    windows: dict[str, np.ndarray],
) -> None:
    test = np.isin(windows["singer"], vocalset.SPLIT_SINGERS["test"])
    assert 0.3 < accuracy(windows["mean"], windows["technique"], test) < 0.85  # chance 0.1


def test_singer_is_learnable_across_recordings(windows: dict[str, np.ndarray]) -> None:
    _, recording = np.unique(windows["path"], return_inverse=True)
    shuffled = np.random.default_rng(0).permutation(recording.max() + 1)
    test = shuffled[recording] % 4 == 0
    assert accuracy(windows["mean"], windows["singer"], test) > 0.2  # chance 0.05
