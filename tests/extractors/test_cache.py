"""The cache: whole or absent, never mixed, readable by anyone, the same bytes after an
interruption.
"""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import planted
import pytest
import soundfile
from click.testing import CliRunner
from processes import CONTEXT
from recordings import corpus

from svuprobe import api, cli
from svuprobe._errors import FileError
from svuprobe._run_options import RunOptions
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import (
    FeatureCache,
    Header,
    Row,
    ShardWriter,
    cache_info,
    claim,
    join,
    plan_shards,
    prune,
    read_shards,
    verify,
)
from svuprobe.extractors.cache.format import numbered
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.extract import extract
from svuprobe.extractors.jobs import Corpus, cache_folder, header_for
from svuprobe.extractors.loading import load
from svuprobe.tasks.types import Clip, Windowing

WINDOWS = Windowing(1.0, 0.3)


def run(clips, features, model="logmel", level="clip", windowing=WINDOWS, **options):
    how = {key: options.pop(key) for key in ("begun",) if key in options}
    options = RunOptions(**{"device": "cpu", "dtype": "float32", "jobs": 0} | options)
    extractor = load(model) if isinstance(model, str) else model
    return extract([extractor], Corpus("toy", windowing, level, clips), features, options, **how)[0]


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
        "print(len(set(ids)), f.attrs['model'], f.attrs['sample_rate'], "
        "list(f.attrs['layer_names']))"
    )
    out = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
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
        np.testing.assert_allclose(
            pooled.read(pooled.rows_of[clip.id][0])[0], expected, rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("model", ["logmel", "random:wav2vec2-tiny"])
def test_frames_lie_on_one_grid_across_windows(tmp_path, model):
    clips = corpus(tmp_path / "a", 2, seconds=(3.3, 3.4))
    with FeatureCache(
        run(clips, tmp_path / "f", model, "frame", Windowing(1.0)).directory
    ) as cache:
        rows = cache.rows_of["clip0"]
        times = np.concatenate(
            [cache.header.grid.centres(cache.n_frames[r], cache.start_s[r]) for r in rows]
        )
        assert np.allclose(np.diff(times), 0.02)
        assert cache.n_frames[rows[:-1]].tolist() == [50] * (len(rows) - 1)
        duration = soundfile.info(clips[0].path).frames / 16000
        assert len(times) == int(duration * 50)
        assert sum(len(cache.read(r)) for r in rows) == len(times)


def test_seamless_frames_equal_those_of_the_whole_clip(tmp_path):
    clips = corpus(tmp_path / "a", 1, seconds=(3.0, 3.0))
    cut = FeatureCache(
        run(clips, tmp_path / "f", level="frame", windowing=Windowing(1.0)).directory
    )
    whole = FeatureCache(
        run(clips, tmp_path / "g", level="frame", windowing=Windowing(30.0)).directory
    )
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
    assert len(content(alone.directory)) > len(
        content(alone.directory).keys() & {("shard-00000.h5", "features")}
    )


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


@pytest.mark.parametrize(
    "field", ["revision", "digest", "dtype", "normalization", "sample_rate", "layer_names"]
)
def test_a_header_that_differs_is_refused_with_both_values(tmp_path, field):
    clips = corpus(tmp_path / "a", 3)
    report = run(clips, tmp_path / "f")
    mine = header_for(load("logmel"), "toy", WINDOWS, "clip")
    value = ("other",) if field == "layer_names" else 8000 if field == "sample_rate" else "other"
    with pytest.raises(ExtractError) as error:
        plan_shards(report.directory, replace(mine, **{field: value}), {"clip0": 1.0})
    assert field in str(error.value)
    assert repr(value) in str(error.value)
    assert repr(getattr(mine, field)) in str(error.value)


def test_another_dtype_never_mixes_with_a_cache(tmp_path):
    clips = corpus(tmp_path / "a", 3, seconds=(1.0, 1.0))
    run(clips, tmp_path / "f", "random:wav2vec2-tiny")
    with pytest.raises(ExtractError, match="float32.*bfloat16"):
        run(clips, tmp_path / "f", "random:wav2vec2-tiny", dtype="bfloat16")


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


# -- the plan --------------------------------------------------------------------------------------


def bytes_of(folder):
    # How long it took is the one thing that differs from run to run.
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "speed.json"}


def at_once(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def head(level="clip", layers=3, dim=4):
    return planted.header(
        SimpleNamespace(dataset="toy", windowing=WINDOWS), layers=layers, dim=dim, level=level
    )


def test_plans_are_the_same_whoever_writes_them(tmp_path):
    rng = np.random.default_rng(0)
    seconds = {f"c{n}": float(rng.integers(1, 20)) for n in range(1000)}
    turned = dict(reversed(seconds.items()))
    first, second = (
        plan_shards(tmp_path / "a", head(), seconds),
        plan_shards(tmp_path / "b", head(), turned),
    )
    assert first == second
    assert [p.read_bytes() for p in (tmp_path / "a").iterdir()] == [
        p.read_bytes() for p in (tmp_path / "b").iterdir()
    ]
    assert plan_shards(tmp_path / "a", head(), seconds) == first
    more = plan_shards(tmp_path / "a", head(), seconds | {"late": 2.0})
    assert more == {**first, f"shard-{len(first):05d}.h5": ["late"]}
    assert len(numbered(tmp_path / "a", "plan-*.json")) == 2


def test_a_plan_goes_from_the_longest_clip_to_the_shortest(tmp_path):
    planned = plan_shards(tmp_path, head(), {"b": 1.0, "long": 60.0, "a": 1.0, "short": 0.5})
    assert planned == {"shard-00000.h5": ["long", "a", "b", "short"]}


@pytest.mark.parametrize(
    ("level", "n", "each", "sizes"),
    [
        ("clip", 70, 3.0, [32, 32, 6]),  # 32 clips
        ("clip", 10240, 3.0, [40] * 256),  # 256 shards
        ("clip", 10, 2400.0, [3, 3, 3, 1]),  # two hours
        ("clip", 2, 9000.0, [1, 1]),  # a clip longer than that
        ("frame", 20, 3.0, [8, 8, 4]),  # eight clips
        ("frame", 7, 200.0, [3, 3, 1]),  # ten minutes
        ("frame", 2, 7200.0, [1, 1]),
    ],
)
def test_a_shard_is_bounded_by_its_clips_and_by_their_audio(tmp_path, level, n, each, sizes):
    planned = plan_shards(tmp_path, head(level), {f"c{i}": each for i in range(n)})
    assert [len(ids) for ids in planned.values()] == sizes


def test_a_lost_plan_costs_nothing_that_is_finished(tmp_path):
    seconds = {f"c{i}": 1.0 for i in range(70)}
    first = plan_shards(tmp_path, head(), seconds)
    fill(tmp_path, head(), first, only=["shard-00001.h5"])
    (tmp_path / "plan-00000.json").unlink()
    again = plan_shards(tmp_path, head(), seconds)
    assert sorted(again["shard-00001.h5"]) == sorted(first["shard-00001.h5"])
    assert sorted(again) == ["shard-00001.h5", "shard-00002.h5", "shard-00003.h5"]
    assert sorted(i for ids in again.values() for i in ids) == sorted(seconds)


def test_two_processes_that_plan_different_clips_at_once_share_no_shard(tmp_path):
    wanted = [{f"{task}{i}": 1.0 for i in range(50)} for task in "abcd"] * 2
    at_once(*(lambda seconds=seconds: plan_shards(tmp_path, head(), seconds) for seconds in wanted))
    plans = [read_plan(path).shards for path in numbered(tmp_path, "plan-*.json").values()]
    assert len(plans) == 4
    ids = [i for shards in plans for several in shards.values() for i in several]
    assert len(ids) == len(set(ids)) == 200
    assert sum(map(len, plans)) == len({name for shards in plans for name in shards})


# -- one shard -------------------------------------------------------------------------------------


def states(clip_id, n, layers=3, dim=4):
    seed = int(hashlib.sha256(clip_id.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).normal(size=(n, layers, dim)).astype(np.float16)


def fill(folder, header, planned, only=None, n=2):
    """Commit planned shards: n windows (of 3 frames at frame level) for each clip."""
    frames = 3 if header.level == "frame" else 1
    for name in planned if only is None else only:
        with claim(folder / name) as mine, ShardWriter(folder / name, header) as writer:
            assert mine
            for clip_id in planned[name]:
                rows = [Row(clip_id, k, float(k), frames, "print") for k in range(n)]
                writer.append(states(clip_id, n * frames), rows)
            writer.commit({"python": "3"})
    return folder


def made(folder, level="clip", clips=70):
    """A finished cache without audio behind it."""
    header = head(level)
    folder = cache_folder(folder, header)
    fill(folder, header, plan_shards(folder, header, {f"c{i}": 1.0 for i in range(clips)}))
    join(folder)
    return folder


@pytest.mark.parametrize(("level", "chunk"), [("clip", (16, 3, 4)), ("frame", (256, 1, 4))])
def test_what_is_appended_is_read(tmp_path, level, chunk):
    folder = made(tmp_path, level, 40)
    with h5py.File(folder / "shard-00000.h5") as file:
        assert file["features"].chunks == chunk
        assert file["features"].dtype == np.float16
    with FeatureCache(folder) as cache:
        assert len(cache.rows_of) == 40
        for clip_id, rows in cache.rows_of.items():
            assert np.array_equal(
                np.concatenate([cache.read(r) for r in rows]),
                states(clip_id, 2 * (1, 3)[level == "frame"]),
            )


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_a_clip_that_fails_in_its_middle_leaves_no_trace(tmp_path, level):
    header, n = head(level), 300 if level == "frame" else 1
    for name, clips in (("with", ["a", "bad", "b", "never"]), ("without", ["a", "b"])):
        with ShardWriter(tmp_path / f"{name}.h5", header) as writer:
            for clip_id in clips:
                if clip_id != "never":
                    writer.append(states(clip_id, n), [Row(clip_id, 0, 0.0, n, "")])
                if clip_id in ("bad", "never"):
                    writer.drop(clip_id)
            assert writer.rows_written == 2
            with pytest.raises(ValueError, match="not the last"):
                writer.drop("a")
            writer.commit({})
    with h5py.File(tmp_path / "with.h5") as one, h5py.File(tmp_path / "without.h5") as other:
        assert {name: data[:].tolist() for name, data in one.items()} == {
            n: d[:].tolist() for n, d in other.items()
        }
        assert one.attrs["sha256"] == other.attrs["sha256"]


def test_rows_that_do_not_fit_the_features_are_a_bug(tmp_path):
    with (
        ShardWriter(tmp_path / "x.h5", head()) as writer,
        pytest.raises(ValueError, match="2 features for rows of 1"),
    ):
        writer.append(states("a", 2), [Row("a", 0, 0.0, 50, "")])
    assert list(tmp_path.iterdir()) == []


def test_every_file_has_its_checksum_as_sha256sum_writes_it(tmp_path):
    folder = made(tmp_path)
    files = sorted(p for p in folder.iterdir() if p.suffix != ".sha256")
    assert [p.name for p in files] == [
        "features.h5",
        "plan-00000.json",
        *(f"shard-0000{n}.h5" for n in range(3)),
    ]
    for path in files:
        text = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        assert path.with_name(f"{path.name}.sha256").read_text() == text


def test_the_same_clips_make_the_same_bytes(tmp_path):
    one, other = made(tmp_path / "a"), made(tmp_path / "b")
    assert bytes_of(one) == bytes_of(other)


# -- who writes ------------------------------------------------------------------------------------


def test_a_shard_is_claimed_by_one_process_until_it_ends(tmp_path):
    path = tmp_path / "shard-00000.h5"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom svuprobe.extractors.cache import claim\n"
        "with claim(Path(sys.argv[1])) as mine:\n    print(mine, flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    left = path.with_name("shard-00000.h5.tmp-1")
    left.write_text("half a shard")
    with claim(path) as mine:
        assert not mine
    assert prune(tmp_path) == {}
    other.kill()
    other.communicate()
    with claim(path) as mine, claim(path) as again:
        assert (mine, again) == (True, False)
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_however_many_claim_at_once_one_of_them_gets_it(tmp_path):
    holders, most = [], []

    def work():
        for _ in range(200):
            with claim(tmp_path / "shard-00000.h5") as mine:
                if mine:
                    holders.append(1)
                    most.append(len(holders))
                    holders.pop()

    at_once(*[work] * 4)
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []


def test_parts_that_join_at_once_lose_no_shard(tmp_path):
    header = head("frame")
    planned = plan_shards(tmp_path, header, {f"c{i}": 1.0 for i in range(160)})

    def part(number):
        for name in list(planned)[number::3]:
            fill(tmp_path, header, planned, [name])
            join(tmp_path)

    at_once(*(lambda n=n: part(n) for n in range(3)))
    with FeatureCache(tmp_path) as cache:
        assert len(cache.rows_of) == 160
    assert not list(tmp_path.glob("*.tmp-*")) + list(tmp_path.glob("*.lock"))


def test_joining_what_is_joined_changes_nothing(tmp_path):
    folder = made(tmp_path)
    before = (folder / "features.h5").stat()
    join(folder)
    after = (folder / "features.h5").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    (folder / "shard-00001.h5").unlink()
    join(folder)
    with FeatureCache(folder) as cache:
        assert len(cache.rows_of) == 38
    for name in ("shard-00000.h5", "shard-00002.h5"):
        (folder / name).unlink()
    join(folder)
    assert not (folder / "features.h5").exists()


# -- damage ----------------------------------------------------------------------------------------


def flip(path, at=None, rng=random):
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data)) if at is None else at
    data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path, keep=0.5):
    os.truncate(path, int(path.stat().st_size * keep))


def test_a_truncated_shard_is_refused_on_opening(tmp_path):
    folder = made(tmp_path)
    truncate(folder / "shard-00001.h5", 0.99)
    with pytest.raises(
        ExtractError,
        match=r"shard-00001.h5: has \d+ bytes of \d+; run svuprobe cache verify .* --remove",
    ):
        FeatureCache(folder)


@pytest.mark.parametrize("keep", [0, 0.3, 0.9])
def test_a_damaged_features_file_is_refused_on_opening(tmp_path, keep):
    folder = made(tmp_path)
    truncate(folder / "features.h5", keep)
    with pytest.raises(ExtractError, match=r"features.h5: damaged .* run svuprobe cache verify"):
        FeatureCache(folder)


def test_a_cache_of_another_format_is_refused(tmp_path):
    header = replace(head(), format=1)
    fill(tmp_path, header, plan_shards(tmp_path, header, {"a": 1.0}))
    join(tmp_path)
    with pytest.raises(ExtractError, match="has format 1, this svuprobe reads 2"):
        FeatureCache(tmp_path)
    with pytest.raises(ExtractError, match="format = 1, asked for 2"):
        plan_shards(tmp_path, head(), {"a": 1.0})


@pytest.mark.parametrize("name", ["shard-00001.h5", "plan-00000.json"])
def test_extraction_on_a_damaged_cache_is_refused_in_one_line(tmp_path, name):
    folder = made(tmp_path)
    truncate(folder / name)
    (folder / "features.h5").unlink()
    actions = [lambda: plan_shards(folder, head(), {"c1": 1.0})]
    if name.startswith("shard"):
        actions += [lambda: read_shards(folder), lambda: join(folder)]
    for action in actions:
        with pytest.raises(ExtractError) as error:
            action()
        assert f"{folder / name}: damaged (" in str(error.value)
        assert f"svuprobe cache verify {folder} --remove" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_whole_cache_is_verified(tmp_path):
    made(tmp_path)
    made(tmp_path, "frame", 20)
    assert verify(tmp_path) == []
    with pytest.raises(ExtractError, match="no such folder"):
        verify(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExtractError, match="no cache there"):
        verify(tmp_path / "empty")


def state_of(folder):
    return {
        p.name: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes())
        for p in folder.glob("shard-*.h5")
    }


def test_every_damage_is_found_and_just_that_is_made_again(tmp_path):
    rng = random.Random(0)
    folder = made(tmp_path)
    files = [p.name for p in sorted(folder.iterdir()) if p.suffix != ".sha256"]
    before = bytes_of(folder)
    for round_ in range(12):
        name = files[round_ % len(files)]
        good = state_of(folder)
        if round_ % 3:
            flip(folder / name, rng=rng)
        else:
            truncate(folder / name, rng.random())
        assert [d.path for d in verify(folder)] == [folder / name]
        assert [d.path for d in verify(folder, delete=True)] == [folder / name]
        with FeatureCache(folder) as cache:  # joined again, without the damaged shard
            assert len(cache.rows_of) == 70 - 32 * (name in files[2:4]) - 6 * (name == files[4])
        planned = plan_shards(folder, head(), {f"c{i}": 1.0 for i in range(70)})
        todo = [name for name in planned if not (folder / name).exists()]
        assert todo == [name] * name.startswith("shard")
        fill(folder, head(), planned, todo)
        join(folder)
        assert verify(folder) == []
        now = state_of(folder)
        assert {n: now[n] for n in now if n != name} == {n: good[n] for n in good if n != name}
        if name.startswith("plan"):  # what is finished needs none
            assert not list(folder.glob("plan*"))
            for path in (name, f"{name}.sha256"):
                (folder / path).write_bytes(before[path])
    assert bytes_of(folder) == before


def test_a_file_without_its_checksum_and_a_checksum_of_another_are_damage(tmp_path):
    folder = made(tmp_path)
    (folder / "shard-00000.h5.sha256").unlink()
    (folder / "shard-00001.h5.sha256").write_bytes(b"\xff" * 80)
    (folder / "shard-00002.h5").unlink()
    assert [(d.path.name, d.reason[:10]) for d in verify(folder)] == [
        ("shard-00000.h5", "has no che"),
        ("shard-00001.h5", "is not wha"),
        ("shard-00002.h5", "is missing"),
    ]


def test_a_shard_of_another_cache_is_damage(tmp_path):
    folder = made(tmp_path / "a")
    header = replace(head(), digest="other")
    other = fill(tmp_path / "b", header, plan_shards(tmp_path / "b", header, {"x": 1.0}))
    for name in ("shard-00000.h5", "shard-00000.h5.sha256"):
        shutil.copy(other / name, folder / name.replace("00000", "00003"))
    shutil.copy(folder / "shard-00001.h5", folder / "shard-00004.h5")
    shutil.copy(folder / "shard-00001.h5.sha256", folder / "shard-00004.h5.sha256")
    first = sorted(
        plan_shards(tmp_path / "c", head(), {f"c{i}": 1.0 for i in range(70)})["shard-00001.h5"]
    )[0]
    assert {d.path.name: d.reason for d in verify(folder, delete=True)} == {
        "shard-00003.h5": "was made with digest = 'other', the cache with 'd1'",
        "shard-00004.h5": f"holds clip {first!r}, as shard-00001.h5 does",
    }
    assert verify(folder) == []
    moved = folder.rename(tmp_path / "moved")
    (wrong,) = verify(moved, delete=True)
    assert wrong.path == moved
    assert len(state_of(moved)) == 3


def test_what_there_is_is_listed(tmp_path):
    folder = made(tmp_path)
    whole = cache_info(folder)
    assert (whole.model, whole.level, whole.dtype, whole.clips, whole.missing) == (
        "hf:made/up",
        "clip",
        "float32",
        70,
        0,
    )
    assert whole.state == "complete"
    assert whole.hours == pytest.approx(70 / 3600)
    assert whole.size == sum(p.stat().st_size for p in folder.iterdir())
    plan_shards(folder, head(), {f"c{i}": 1.0 for i in range(75)})
    assert cache_info(folder).state == "5 clips missing"
    truncate(folder / "shard-00001.h5")
    assert cache_info(folder).state == "37 clips missing, 1 files damaged"
    verify(folder, delete=True)
    assert cache_info(folder).state == "37 clips missing"
    (folder / "features.h5").unlink()
    (folder / "plan-00001.json").unlink()
    (folder / "plan-00000.json").unlink()
    lost = cache_info(folder)
    assert (lost.clips, lost.missing, lost.hours, lost.state) == (38, 0, None, "not joined")


def test_what_dead_processes_left_is_pruned_and_nothing_else(tmp_path):
    folder = made(tmp_path)
    before = bytes_of(folder)
    mine = folder / "notes.txt.tmp-1"
    mine.write_text("not svuprobe's")
    names = (
        "shard-00003.h5.tmp-1",
        "shard-00003.h5.tmp-1.sha256",
        "shard-00004.h5.lock",
        "shard-00005.h5.sha256",
        "plan-00001.json.tmp-7",
        "features.h5.tmp-3",
        "plan.lock",
    )
    for name in names:
        (folder / name).write_text("left")
    with claim(folder / "shard-00006.h5"):
        (folder / "shard-00006.h5.tmp-9").write_text("in hand")
        assert {p.name: size for p, size in prune(tmp_path, dry_run=True).items()} == dict.fromkeys(
            names, 4
        )
        assert {p.name: size for p, size in prune(tmp_path).items()} == dict.fromkeys(names, 4)
        assert (folder / "shard-00006.h5.tmp-9").exists()
    assert [p.name for p in prune(tmp_path)] == ["shard-00006.h5.tmp-9"]
    assert prune(tmp_path) == {}
    mine.unlink()
    assert bytes_of(folder) == before


# -- the system says no ----------------------------------------------------------------------------

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from svuprobe._errors import FileError
from svuprobe.extractors.cache.plan import read_plan
from svuprobe.extractors.cache import Row, ShardWriter
header = read_plan(Path(sys.argv[1]) / "plan-00000.json").header
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
n = 40 if header.level == "clip" else 4000
for limit in (1, 3000, 60_000, 300_000, 1_000_000, hard):
    # As a full disk: EFBIG in the place of ENOSPC.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with ShardWriter(Path(sys.argv[1]) / "shard-00000.h5", header) as writer:
            for number in range(20):
                row = Row("a", number, 0.0, 100, "")
                rows = [row] * (n if header.level == "clip" else n // 100)
                writer.append(np.zeros((n, *map(int, sys.argv[2:])), "float16"), rows)
            writer.commit({})
        print("done")
    except FileError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
@pytest.mark.parametrize("level", ["clip", "frame"])
def test_a_full_disk_is_one_line_and_leaves_what_is_finished(tmp_path, level):
    """Plain h5py ends such a process with a segmentation fault."""
    header = head(level, layers=13, dim=64)
    planned = plan_shards(tmp_path, header, {f"c{i}": 1.0 for i in range(40)})
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path, "13", "64"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    *refused, last = done.stdout.splitlines()
    said = (
        f"{tmp_path}/shard-00000.h5: can't be written (File too large); what was finished before "
        "is kept: "
    )
    assert {line[: len(said)] for line in refused} == {said}
    assert (len(refused), last) == (5, "done")
    assert {p.name for p in tmp_path.glob("*.h5*")} == {"shard-00000.h5", "shard-00000.h5.sha256"}
    assert len(planned) > 1


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "make it writable"), (errno.EIO, "see")],
)
def test_what_the_system_refuses_is_one_line_with_advice(tmp_path, monkeypatch, number, advice):
    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    for where in ("mkdir", "write_text"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, where, refuse)
            with pytest.raises(
                FileError, match=f"can't be written .{os.strerror(number)}.*{advice}"
            ):
                plan_shards(tmp_path / where, head(), {"a": 1.0})
    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(FileError, match=f"shard-00000.h5: can't be written .*{advice}"),
        claim(tmp_path / "shard-00000.h5"),
    ):
        pass


def test_what_is_whole_is_joined_and_planned_where_nothing_may_be_written(tmp_path, monkeypatch):
    folder = made(tmp_path)
    monkeypatch.setattr(os, "open", lambda *words: pytest.fail("something was to be written"))
    join(folder)
    assert sorted(plan_shards(folder, head(), {"c1": 1.0})) == [
        f"shard-0000{n}.h5" for n in range(3)
    ]
    assert verify(folder) == []


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(FileError, match="f: can't be written .File exists"):
        plan_shards(tmp_path / "f", head(), {"a": 1.0})
    with pytest.raises(FileError, match="can't be written .Not a directory"):
        ShardWriter(tmp_path / "f" / "shard-00000.h5", head())


# -- killed ----------------------------------------------------------------------------------------


class Slow:
    """Log-mel features that take their time."""

    def __init__(self):
        self.model = load("logmel")

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, audio, lengths):
        time.sleep(0.02)
        return self.model(audio, lengths)


def extract_slowly(clips, features):
    run(clips, features, Slow(), "frame", batch_s=5.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_run_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    clips = corpus(tmp_path / "a")
    undisturbed = run(clips, tmp_path / "f", level="frame", batch_s=5.0).directory
    folder = tmp_path / "g" / undisturbed.relative_to(tmp_path / "f")
    finished = {}
    for kill, delay in enumerate(np.random.default_rng(0).uniform(0, 0.1, 3)):
        process = CONTEXT.Process(target=extract_slowly, args=(clips, tmp_path / "g"))
        process.start()
        deadline = time.monotonic() + 60
        while len(list(folder.glob("shard-*.h5"))) <= 2 * kill and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay)
        os.kill(process.pid, (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[kill])
        process.join()
        assert process.exitcode != 0
        now = {name: seen[:2] for name, seen in state_of(folder).items()}
        assert 2 * kill < len(now) < 9
        assert {name: now[name] for name in finished} == finished
        finished = now
        assert verify(tmp_path / "g") == []
        assert not (folder / "features.h5").exists()
    resumed = run(clips, tmp_path / "g", level="frame", batch_s=5.0)
    assert {
        name: seen[:2] for name, seen in state_of(folder).items() if name in finished
    } == finished
    planned = read_plan(folder / "plan-00000.json").shards
    assert resumed.cached == sum(len(ids) for name, ids in planned.items() if name in finished)
    # Of one killed between a shard's end and its lock's.
    assert {path.suffix for path in prune(folder)} <= {".lock"}
    assert bytes_of(folder) == bytes_of(undisturbed)


# -- the commands ----------------------------------------------------------------------------------


def call(*words):
    return CliRunner().invoke(cli.main, ["cache", *map(str, words)])


def test_the_commands_list_verify_and_prune(tmp_path):
    folder = made(tmp_path)
    assert "hf:made/up" in call("list", tmp_path).output
    (row,) = json.loads(call("list", tmp_path, "--json").output)
    assert (row["directory"], row["clips"], row["state"]) == (str(folder), 70, "complete")
    whole = call("verify", tmp_path)
    assert (whole.exit_code, whole.output) == (0, f"{tmp_path}: every byte is as it was written\n")
    flip(folder / "shard-00001.h5")
    found = call("verify", tmp_path)
    assert found.exit_code == 1
    assert (
        found.output.splitlines()[0]
        == f"{folder}/shard-00001.h5: is not what was written: its checksum differs"
    )
    assert "svuprobe extract --model hf:made/up" in found.output
    assert f"1 damaged; svuprobe cache verify {tmp_path} --remove deletes them" in found.output
    mended = call("verify", tmp_path, "--remove")
    assert mended.exit_code == 1
    assert "1 damaged; deleted; svuprobe extract makes just these again" in mended.output
    assert call("verify", tmp_path).exit_code == 0
    assert "32 clips missing" in call("list", tmp_path).output
    (folder / "shard-00001.h5.tmp-1").write_bytes(bytes(2048))
    assert call("prune", tmp_path, "--dry-run").output.endswith("2 KiB would be freed\n")
    assert call("prune", tmp_path).output.endswith("2 KiB freed\n")
    assert call("prune", tmp_path).output == "0 B freed\n"
    assert call("list", tmp_path / "none").exit_code == 1
    (tmp_path / "empty").mkdir()
    assert "no caches; svuprobe extract" in call("list", tmp_path / "empty").output
    assert json.loads(call("list", tmp_path / "empty", "--json").output) == []


def test_features_are_deleted_only_for_a_model_that_is_named_with_yes(tmp_path):
    folder = made(tmp_path)
    assert call("prune", tmp_path, "--model", "mfcc", "--yes").exit_code == 1
    asked = call("prune", tmp_path, "--model", "hf:made/up")
    assert asked.exit_code == 1
    assert str(folder) in asked.output
    assert "--yes" in asked.output
    assert call("verify", tmp_path).exit_code == 0
    with claim(folder / "shard-00009.h5"):
        busy = call("prune", tmp_path, "--model", "hf:made/up", "--yes")
        assert (busy.exit_code, "another process" in busy.output) == (1, True)
    assert call("prune", tmp_path, "--model", "hf:made/up", "--yes").exit_code == 0
    assert list(tmp_path.iterdir()) == []
    assert api.cache_list(tmp_path) == []
