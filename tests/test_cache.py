"""The cache: whole or absent, never mixed, readable by anyone, the same bytes after an interruption."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import FeatureCache, Header, plan, plans
from svuprobe.extractors.catalogue import load
from svuprobe.extractors.run import cache_folder, extract, header_for
from svuprobe.tasks.types import Clip, Windowing

WINDOWS = Windowing(1.0, 0.3)


def corpus(folder, n=70, seconds=(0.4, 2.5), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(n):
        path = folder / f"clip {i}.wav"
        soundfile.write(path, 0.1 * rng.normal(size=int(16000 * rng.uniform(*seconds))), 16000)
        clips.append(Clip(f"clip{i}", str(path), "train", "x", "g"))
    return clips


def run(clips, features, model="logmel", level="clip", windowing=WINDOWS, **options):
    return extract(
        load(model), clips, features, dataset="toy", windowing=windowing, level=level, device="cpu", **options
    )


def content(directory):
    """Every dataset of every shard, by name."""
    found = {}
    for path in sorted(directory.glob("shard-*.h5")):
        with h5py.File(path) as file:
            for name, data in file.items():
                found[path.name, name] = hashlib.sha256(repr(data[:].tolist()).encode()).hexdigest()
    return found


def test_a_cache_opens_with_plain_h5py(tmp_path):
    report = run(corpus(tmp_path / "a"), tmp_path / "f")
    code = (
        "import sys, h5py, numpy as np\n"
        f"f = h5py.File({str(report.directory / 'features.h5')!r})\n"
        "x, ids = f['features'], f['clip_id'].asstr()[:]\n"
        "assert 'svuprobe' not in sys.modules and x.dtype == np.float16 and x.is_virtual\n"
        "assert x.shape == (len(ids), 1, 128) and np.isfinite(x[:]).all()\n"
        "print(len(set(ids)), f.attrs['model'], f.attrs['sample_rate'], list(f.attrs['layer_names']))"
    )
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["70", "logmel", "16000", "['logmel']"]


def test_a_cache_may_be_moved(tmp_path):
    report = run(corpus(tmp_path / "a", 5), tmp_path / "f")
    before = FeatureCache(report.directory).features[:]
    moved = tmp_path / "elsewhere"
    os.rename(report.directory, moved)
    with FeatureCache(moved) as cache:
        assert np.array_equal(cache.features[:], before)


def test_windows_are_cut_and_counted_as_the_windowing_says(tmp_path):
    clips = corpus(tmp_path / "a", 6)
    with FeatureCache(run(clips, tmp_path / "f").directory) as cache:
        for clip in clips:
            n = soundfile.info(clip.path).frames
            rows = cache.rows_of[clip.id]
            assert len(rows) == len(WINDOWS.spans(n, 16000))
            assert cache.window[rows].tolist() == list(range(len(rows)))
            assert cache.start_s[rows].tolist() == [float(k) for k in range(len(rows))]


def test_clip_features_are_the_mean_of_the_frames(tmp_path):
    clips = corpus(tmp_path / "a", 3, seconds=(1.0, 1.0))
    whole = Windowing(30.0)
    pooled = FeatureCache(run(clips, tmp_path / "f", windowing=whole).directory)
    for clip in clips:
        audio = np.float32(soundfile.read(clip.path)[0])
        import torch

        states, _ = load("logmel")(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
        expected = states[0].mean(dim=1).numpy()
        np.testing.assert_allclose(pooled.read(pooled.rows_of[clip.id][0])[0], expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("model", ["logmel", "random:wav2vec2-tiny"])
def test_frames_lie_on_one_grid_across_windows(tmp_path, model):
    clips = corpus(tmp_path / "a", 2, seconds=(3.3, 3.4))
    with FeatureCache(run(clips, tmp_path / "f", model, "frame", Windowing(1.0)).directory) as cache:
        rows = cache.rows_of["clip0"]
        times = np.concatenate([cache.header.frame_times(cache.start_s[r], cache.n_frames[r]) for r in rows])
        assert np.allclose(np.diff(times), 0.02)
        assert cache.n_frames[rows[:-1]].tolist() == [50] * (len(rows) - 1)
        duration = soundfile.info(clips[0].path).frames / 16000
        assert len(times) == int(duration * 50)
        assert sum(len(cache.read(r)) for r in rows) == len(times)


def test_seamless_frames_equal_those_of_the_whole_clip(tmp_path):
    clips = corpus(tmp_path / "a", 1, seconds=(3.0, 3.0))
    cut = FeatureCache(run(clips, tmp_path / "f", level="frame", windowing=Windowing(1.0)).directory)
    whole = FeatureCache(run(clips, tmp_path / "g", level="frame", windowing=Windowing(30.0)).directory)
    assert np.array_equal(cut.features[:], whole.features[:])


def test_what_is_cached_is_not_done_again(tmp_path):
    clips = corpus(tmp_path / "a")
    first = run(clips[:40], tmp_path / "f")
    before = content(first.directory)
    second = run(clips, tmp_path / "f")
    assert (first.cached, second.cached) == (0, 40)
    assert {key: content(second.directory)[key] for key in before} == before
    third = run(clips, tmp_path / "f")
    assert (third.cached, third.windows) == (70, 0)
    with FeatureCache(third.directory) as cache:
        assert set(cache.rows_of) == {c.id for c in clips}


def test_parts_done_by_several_processes_make_the_same_cache(tmp_path):
    clips = corpus(tmp_path / "a")
    alone = run(clips, tmp_path / "f")
    for part in (2, 1, 3):
        parts = run(clips, tmp_path / "g", shard=(part, 3))
    assert content(parts.directory) == content(alone.directory)
    assert len(content(alone.directory)) > len(content(alone.directory).keys() & {("shard-00000.h5", "features")})


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_cache
from svuprobe.extractors import run
load = run.load_clip
def slow(clip, rate):
    import time
    time.sleep(0.01)
    return load(clip, rate)
run.load_clip = slow
test_cache.run(test_cache.corpus(Path({folder!r})), Path({features!r}), "random:wav2vec2-tiny")
"""


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_bytes(tmp_path):
    clips = corpus(tmp_path / "a")
    undisturbed = run(clips, tmp_path / "f", "random:wav2vec2-tiny")
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "a"), features=str(tmp_path / "g"))
    process = subprocess.Popen([sys.executable, "-c", code])
    folder = tmp_path / "g" / undisturbed.directory.relative_to(tmp_path / "f")
    deadline = time.monotonic() + 60
    while not list(folder.glob("shard-*.h5")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = list(folder.glob("shard-*.h5"))
    assert 0 < len(done) < 3
    assert not (folder / "features.h5").exists()
    first = {path: path.stat().st_mtime_ns for path in done}
    resumed = run(clips, tmp_path / "g", "random:wav2vec2-tiny")
    assert 0 < resumed.cached < 70
    assert {path: path.stat().st_mtime_ns for path in done} == first
    assert content(resumed.directory) == content(undisturbed.directory)
    whole, again = (FeatureCache(r.directory).features[:].tobytes() for r in (undisturbed, resumed))
    assert whole == again


def test_a_clip_that_fails_is_named_the_rest_goes_on_and_mending_it_finishes(tmp_path):
    clips = corpus(tmp_path / "a", 40)
    good = Path(clips[3].path).read_bytes()
    Path(clips[3].path).write_bytes(b"not audio")
    os.remove(clips[9].path)
    report = run(clips, tmp_path / "f")
    assert {i for i, _ in report.failures} == {"clip3", "clip9"}
    assert all(reason.startswith(str(tmp_path)) for _, reason in report.failures)
    with FeatureCache(report.directory) as cache:
        assert len(cache.rows_of) == 38
    Path(clips[3].path).write_bytes(good)
    again = run(clips, tmp_path / "f")
    assert (again.cached, {i for i, _ in again.failures}) == (38, {"clip9"})
    with FeatureCache(again.directory) as cache:
        assert len(cache.rows_of) == 39


def test_a_clip_too_short_for_the_model_fails_by_itself(tmp_path):
    clips = corpus(tmp_path / "a", 3)
    soundfile.write(clips[1].path, np.zeros(200), 16000)
    report = run(clips, tmp_path / "f", "random:wav2vec2-tiny")
    assert [i for i, _ in report.failures] == ["clip1"]
    assert "200 samples" in report.failures[0][1]
    with FeatureCache(report.directory) as cache:
        assert set(cache.rows_of) == {"clip0", "clip2"}


def test_changed_audio_under_the_same_id_is_refused(tmp_path):
    clips = corpus(tmp_path / "a", 3)
    run(clips, tmp_path / "f")
    soundfile.write(clips[2].path, np.ones(9000) * 0.1, 16000)
    with pytest.raises(ExtractError, match="clip2"):
        run(clips, tmp_path / "f")


@pytest.mark.parametrize("field", ["revision", "digest", "dtype", "normalization", "sample_rate", "layer_names"])
def test_a_header_that_differs_is_refused_with_both_values(tmp_path, field):
    clips = corpus(tmp_path / "a", 3)
    report = run(clips, tmp_path / "f")
    mine = header_for(load("logmel"), "toy", WINDOWS, "clip")
    value = ("other",) if field == "layer_names" else 8000 if field == "sample_rate" else "other"
    with pytest.raises(ExtractError) as error:
        plan(report.directory, replace(mine, **{field: value}), ["clip0"])
    assert field in str(error.value)
    assert repr(value) in str(error.value)
    assert repr(getattr(mine, field)) in str(error.value)


def test_another_dtype_never_mixes_with_a_cache(tmp_path):
    clips = corpus(tmp_path / "a", 3)
    run(clips, tmp_path / "f")
    with pytest.raises(ExtractError, match="float32.*bfloat16"):
        run(clips, tmp_path / "f", dtype="bfloat16")


def test_a_missing_shard_is_noticed_though_hdf5_would_answer_nan(tmp_path):
    report = run(corpus(tmp_path / "a"), tmp_path / "f")
    with h5py.File(report.directory / "features.h5") as file:
        n = len(file["features"])
    (report.directory / "shard-00001.h5").unlink()
    with h5py.File(report.directory / "features.h5") as file:
        assert np.isnan(file["features"][:]).any()
        assert len(file["features"]) == n
    with pytest.raises(ExtractError, match="shard-00001.h5: a shard is missing"):
        FeatureCache(report.directory)


def test_a_clip_does_not_depend_on_what_else_is_extracted(tmp_path):
    clips = corpus(tmp_path / "a", 12)
    together = FeatureCache(run(clips, tmp_path / "f", "random:wav2vec2-tiny").directory)
    for clip in clips[:4]:
        one = FeatureCache(run([clip], tmp_path / clip.id, "random:wav2vec2-tiny").directory)
        mine = together.features[:][together.rows_of[clip.id]]
        np.testing.assert_allclose(mine, one.features[:], rtol=2e-3, atol=2e-3)


def test_plans_are_the_same_whoever_writes_them(tmp_path):
    head = header_for(load("mfcc"), "toy", WINDOWS, "clip")
    ids = [f"c{n}" for n in range(1000)]
    first, second = (plan(tmp_path / name, head, ids) for name in "ab")
    assert first == second
    assert [i for name in sorted(first) for i in first[name]] == ids
    assert plan(tmp_path / "a", head, ids) == first
    assert len(plans(tmp_path / "a")) == 1
    more = plan(tmp_path / "a", head, [*ids, "late"])
    assert more == {**first, f"shard-{len(first):05d}.h5": ["late"]}


def test_header_survives_hdf5(tmp_path):
    head = header_for(load("chroma"), "toy", WINDOWS, "frame")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs.update(head.attributes())
        assert Header.read(file.attrs) == head
    assert cache_folder(tmp_path, head) == tmp_path / "chroma@v1" / "toy-1s-tail0.3s-frame"


def test_no_cache_is_made_where_every_clip_fails(tmp_path):
    clips = [Clip("gone", str(tmp_path / "gone.wav"), "train", "x", "g")]
    report = run(clips, tmp_path / "f")
    assert [i for i, _ in report.failures] == ["gone"]
    assert not (report.directory / "features.h5").exists()
    assert [i for i, _ in run(clips, tmp_path / "f").failures] == ["gone"]


def test_silent_windows_are_dropped_and_counted_and_a_silent_clip_is_named(tmp_path):
    clips = corpus(tmp_path / "a", 2, seconds=(3.0, 3.0))
    half = np.concatenate([0.1 * np.ones(16000), np.zeros(16000), 0.005 * np.ones(16000)])
    soundfile.write(clips[0].path, half, 16000)
    soundfile.write(clips[1].path, np.zeros(48000), 16000)
    report = run(clips, tmp_path / "f", windowing=Windowing(1.0, 1.0, min_rms=0.01))
    assert report.quiet == 5
    assert [i for i, _ in report.failures] == ["clip1"]
    with FeatureCache(report.directory) as cache:
        assert cache.clip_id.tolist() == ["clip0"]
        assert report.directory.name == "toy-1s-tail1s-rms0.01-clip"


def test_features_of_another_part_of_a_file_are_not_taken_for_the_same_clip(tmp_path):
    (clip,) = corpus(tmp_path / "a", 1, seconds=(3.0, 3.0))
    run([replace(clip, end=1.0)], tmp_path / "f")
    with pytest.raises(ExtractError, match="clip0"):
        run([replace(clip, start=1.0, end=2.0)], tmp_path / "f")
