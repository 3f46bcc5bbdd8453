"""The run: every clip decoded once, exact whatever the batch, and nothing lost whatever fails."""

import errno
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from processes import CONTEXT
from recordings import corpus

from svuprobe import _files, cli
from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.api import extraction
from svuprobe.extractors import batching, place, progress, writer
from svuprobe.extractors.audio import clips as audio
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.cache import FeatureCache, cache_info, claim, prune, speed
from svuprobe.extractors.extract import extract
from svuprobe.extractors.jobs import Corpus
from svuprobe.extractors.loading import load
from svuprobe.tasks.types import Clip, Windowing

WINDOWS = Windowing(1.0, 0.3)


def run(clips, features, models=("logmel",), level="clip", windowing=WINDOWS, **options):
    """Reports of an extraction in this process, in float32."""
    loaded = [load(model) if isinstance(model, str) else model for model in models]
    how = {key: options.pop(key) for key in ("begun",) if key in options}
    options = RunOptions(**{"device": "cpu", "dtype": "float32", "jobs": 0} | options)
    return extract(loaded, Corpus("toy", windowing, level, clips), features, options, **how)


def content(directory):
    """Clip id and window -> features."""
    with FeatureCache(directory) as cache:
        return {
            (clip_id, number): cache.read(row)
            for row, (clip_id, number) in enumerate(
                zip(cache.clip_id.tolist(), cache.window.tolist(), strict=True)
            )
        }


class Made:
    """An extractor whose feature is the mean of each 20 ms, made to misbehave."""

    revision = digest = "made"
    hop = receptive_field = 320
    layer_names = ("only",)
    dim = 4
    parameters = 0
    normalization = "none"

    def __init__(
        self, name="hf:made/up", sample_rate=16000, largest=None, refuses=None, spoils=None
    ):
        self.name, self.sample_rate = name, sample_rate
        self.largest, self.refuses, self.spoils = largest, refuses, spoils
        self.batches = []

    def to(self, device, dtype):
        pass

    def __call__(self, audio, lengths):
        self.batches.append(tuple(lengths.tolist()))
        if self.largest and len(audio) > self.largest:
            raise torch.OutOfMemoryError("no memory")
        if self.refuses and any(
            self.refuses(a, n) for a, n in zip(audio, lengths.tolist(), strict=True)
        ):
            raise ExtractError(f"{self.name}: refused")
        means = audio[:, : audio.shape[1] // 320 * 320].unflatten(1, (-1, 320)).mean(dim=2)
        if self.spoils:
            means = torch.where(self.spoils(means), torch.nan, means)
        return means[:, None, :, None].expand(-1, -1, -1, 4), lengths // 320


def constant(folder, name, values, rate=16000):
    """A clip with one level a second."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.wav"
    soundfile.write(path, np.repeat(np.asarray(values, float), rate), rate, subtype="FLOAT")
    return Clip(name, str(path), "train", "x", "g")


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_several_models_share_each_decoded_clip(tmp_path, monkeypatch, level):
    clips = corpus(tmp_path / "a", 20)
    opened = []
    original = soundfile.SoundFile.__init__

    def counted(self, file, *rest, **options):
        opened.append(file)
        original(self, file, *rest, **options)

    models = ("logmel", "mfcc", "random:wav2vec2-tiny", Made(sample_rate=24000))
    windowing = WINDOWS if level == "clip" else Windowing(1.0)
    counts = {}
    for several in (models[:1], models):
        monkeypatch.setattr(soundfile.SoundFile, "__init__", counted)
        opened.clear()
        reports = run(clips, tmp_path / f"{len(several)}", several, level, windowing)
        monkeypatch.undo()
        assert all(report.done == 20 for report in reports)
        counts[len(several)] = len(opened)
    assert counts[1] == counts[4] == 2 * 20  # once for its length, once for its samples


def test_models_that_already_have_some_clips_do_only_the_others(tmp_path):
    clips = corpus(tmp_path / "a", 40)
    run(clips[:10], tmp_path / "f", ("logmel",))
    logmel, mfcc = run(clips, tmp_path / "f", ("logmel", "mfcc"))
    assert (logmel.cached, logmel.done, mfcc.cached, mfcc.done) == (10, 30, 0, 40)
    alone = content(run(clips, tmp_path / "g", ("logmel",))[0].directory)
    both = content(logmel.directory)
    assert both.keys() == alone.keys()
    assert all(np.array_equal(both[key], alone[key]) for key in alone)


@pytest.mark.parametrize("level", ["clip", "frame"])
@pytest.mark.parametrize("seconds", [0.5, 3.0, 500.0])
def test_features_do_not_depend_on_the_batch(tmp_path, level, seconds):
    clips = corpus(tmp_path / "a", 12)
    windowing = WINDOWS if level == "clip" else Windowing(1.0)
    model = "random:wav2vec2-tiny"
    (report,) = run(clips, tmp_path / "f", (model,), level, windowing, batch_s=seconds)
    found = content(report.directory)
    for clip in clips[:4]:
        (one,) = run([clip], tmp_path / clip.id, (model,), level, windowing)
        for key, expected in content(one.directory).items():
            np.testing.assert_allclose(found[key], expected, rtol=2e-3, atol=2e-3)


def test_a_clip_longer_than_a_minute_taken_whole_goes_through_in_equal_parts(tmp_path):
    clip = constant(tmp_path, "long", [0.1] * 130)
    (report,) = run([clip], tmp_path / "f", (Made(),), windowing=Windowing())
    assert report.windows == 3
    with FeatureCache(report.directory) as cache:
        assert np.allclose(cache.start_s, [0, 130 / 3, 260 / 3], atol=1e-3)


def test_frames_of_a_long_file_stay_in_order_over_many_blocks(tmp_path):
    clip = constant(tmp_path, "long", np.arange(40) / 64)
    (report,) = run([clip], tmp_path / "f", (Made(),), "frame", Windowing(1.0), batch_s=2.0)
    with FeatureCache(report.directory) as cache:
        assert np.array_equal(
            cache.features[:][:, 0, 0], np.repeat(np.arange(40) / 64, 50).astype(np.float16)
        )
        assert cache.n_frames.tolist() == [50] * 40


@pytest.mark.parametrize("level", ["clip", "frame"])
def test_a_clip_with_one_bad_window_fails_as_a_whole_even_if_others_are_written(tmp_path, level):
    good = [constant(tmp_path, f"good{n}", [0.1] * 3) for n in range(3)]
    # Of all clips the longest, so it comes first.
    bad = constant(tmp_path, "bad", [0.1] * 30 + [0.9])
    made = Made(spoils=lambda means: means > 0.8)
    windowing = WINDOWS if level == "clip" else Windowing(1.0)
    (report,) = run([*good, bad], tmp_path / "f", (made,), level, windowing, batch_s=2.0)
    assert report.failures == [("bad", f"{bad.path}: features are not finite in float16")]
    assert (report.done, report.windows) == (3, 9)
    with FeatureCache(report.directory) as cache:
        assert set(cache.clip_id) == {c.id for c in good}
        assert len(cache.features) == (9 if level == "clip" else 9 * 50)
        assert np.isfinite(cache.features[:]).all()


def test_a_window_the_model_refuses_fails_no_other_of_its_batch(tmp_path):
    clips = [constant(tmp_path, f"c{n}", [n / 10]) for n in range(9)]
    made = Made(refuses=lambda samples, n: abs(float(samples[0]) - 0.4) < 0.01)
    (report,) = run(clips, tmp_path / "f", (made,))
    assert report.failures == [("c4", "hf:made/up: refused")]
    assert report.done == 8


def test_a_device_out_of_memory_gets_smaller_batches(tmp_path):
    clips = [constant(tmp_path, f"c{n}", [n / 10]) for n in range(9)]
    made = Made(largest=2)
    (report,) = run(clips, tmp_path / "f", (made,))
    assert (report.done, report.failures) == (9, [])
    assert max(len(batch) for batch in made.batches if len(batch) <= 2) == 2
    (report,) = run(clips, tmp_path / "g", (Made(largest=0.5),))
    assert len(report.failures) == 9
    assert "no memory for a window of 1 s" in report.failures[0][1]


def test_padding_stays_small_and_batches_within_their_budget():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 1000, 300).tolist()
    made = list(batching.pack(lengths, 5000))
    assert sorted(row for batch in made for row in batch) == list(range(300))
    for batch in made:
        own = [lengths[row] for row in batch]
        assert max(own) * len(own) <= 5000 or len(own) == 1
        assert min(own) >= 0.8 * max(own)


def test_the_plan_is_told_before_work_and_a_full_disk_refused(tmp_path, monkeypatch):
    clips = [constant(tmp_path, f"c{n}", [0.1] * 36) for n in range(10)]
    said = []
    run(clips, tmp_path / "f", reporter=Reporter(said.append))
    assert said[0].startswith("to do: 10 clips, 0.10 h of audio, clip level, through logmel: ")
    usage = progress.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(progress.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        ExtractError, match=r"need .* GiB and 9\.31e-07 GiB are free; free some space"
    ):
        run(clips, tmp_path / "g")
    said.clear()
    # Nothing is to be done: nothing is refused.
    run(clips, tmp_path / "f", reporter=Reporter(said.append))
    assert said == []


def test_a_shard_that_another_process_writes_is_left_to_it(tmp_path):
    clips = corpus(tmp_path / "a", 70)
    (whole,) = run(clips, tmp_path / "f")
    folder = tmp_path / "g" / whole.directory.relative_to(tmp_path / "f")
    folder.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from svuprobe.extractors.cache import claim\n"
        f"with claim(Path({str(folder / 'shard-00001.h5')!r})) as mine: print(mine, flush=True); "
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "True\n"
    (first,) = run(clips, tmp_path / "g")
    assert (first.done, first.busy) == (38, 32)
    other.communicate("")
    (second,) = run(clips, tmp_path / "g")
    assert (second.cached, second.done, second.busy) == (38, 32, 0)
    assert content(second.directory).keys() == content(whole.directory).keys()


def test_two_runs_on_one_cache_by_accident_share_the_work(tmp_path):
    clips = corpus(tmp_path / "a", 200)
    # Once: audio that is written again while it is read is other audio.
    same = corpus(tmp_path / "b", 200)
    with ProcessPoolExecutor(2, CONTEXT) as processes:
        both = [processes.submit(run, same, tmp_path / "g", ("mfcc",)) for _ in range(2)]
        reports = [report for one in both for report in one.result()]
    assert sum(report.done for report in reports) == 200
    assert not any(report.failures for report in reports)
    (alone,) = run(clips, tmp_path / "f", ("mfcc",))
    (joined,) = run(same, tmp_path / "g", ("mfcc",))
    assert joined.cached == 200
    mine, theirs = content(alone.directory), content(joined.directory)
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[key], theirs[key]) for key in mine)


def test_an_error_while_writing_keeps_what_is_finished_and_leaves_nothing_behind(
    tmp_path, monkeypatch
):
    clips = corpus(tmp_path / "a", 70)
    commits = []

    def failing(writer, versions, original=writer.ShardWriter.commit):
        commits.append(writer.path.name)
        if len(commits) == 2:
            raise ExtractError("disk full")
        original(writer, versions)

    monkeypatch.setattr(writer.ShardWriter, "commit", failing)
    with pytest.raises(ExtractError, match="disk full"):
        run(clips, tmp_path / "f")
    (folder,) = (tmp_path / "f").glob("*/*")
    assert [p.name for p in folder.glob("shard-*.h5")] == commits[:1]
    assert not list(folder.glob("*.tmp-*"))
    assert not list(folder.glob("shard-*.lock"))
    assert not [t for t in threading.enumerate() if t.name == "svuprobe-writer"]
    monkeypatch.undo()
    (report,) = run(clips, tmp_path / "f")
    assert (report.cached, report.done) == (32, 38)


def commanded(words, said):
    """Run a command as a process of its own does, its errors into a file."""
    with said.open("w", encoding="utf-8", buffering=1) as file:
        os.dup2(file.fileno(), 2)
        sys.stderr, sys.argv = file, ["svuprobe", *words]
        runpy.run_module("svuprobe", run_name="__main__", alter_sys=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_extraction_says_so_and_the_same_command_goes_on(tmp_path, number, code):
    few = corpus(tmp_path / "a", 20, seconds=(1.0, 1.2))
    for n in range(20, 200):  # the same audio under more names takes no time to write
        os.link(few[n % 20].path, tmp_path / "a" / f"clip {n}.wav")
    rows = ["path,target"] + [f"a/clip {n}.wav,{'xy'[n % 2]}" for n in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    toml = tmp_path / "t.toml"
    toml.write_text('name = "t"\nkind = "multiclass"\nmetadata = "t.csv"\n')
    words = [
        "extract",
        "--task",
        toml,
        "--model",
        "random:wav2vec2-tiny",
        "--features",
        tmp_path / "f",
    ]
    process = CONTEXT.Process(target=commanded, args=([*map(str, words)], tmp_path / "said"))
    process.start()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "f").glob("*/*/shard-*.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join(60)
    error = (tmp_path / "said").read_text()
    assert process.exitcode == code, error
    assert error.splitlines()[-1].startswith("Interrupted: what is finished is kept")
    assert "Traceback" not in error
    assert not list((tmp_path / "f").glob("*/*/*.tmp-*"))
    (shard, *_) = (tmp_path / "f").glob("*/*/shard-*.h5")
    kept = cache_info(shard.parent)
    assert 0 < kept.clips < 200
    assert "damaged" not in kept.state
    finished = {path: path.stat().st_ino for path in shard.parent.glob("shard-*.h5")}
    again = CliRunner().invoke(cli.main, [*map(str, words), "--jobs", "0"])
    assert again.exit_code == 0, again.output
    whole = cache_info(shard.parent)
    assert (whole.clips, whole.state) == (200, "complete")
    assert all(path.stat().st_ino == before for path, before in finished.items())


def test_a_run_killed_before_it_joined_is_joined_by_the_next(tmp_path, monkeypatch):
    clips = corpus(tmp_path / "a", 40)
    run(clips[:10], tmp_path / "f")
    monkeypatch.setattr(place, "join", lambda *_: None)
    run(clips, tmp_path / "f")
    monkeypatch.undo()
    (report,) = run(clips, tmp_path / "f")
    assert (report.cached, report.done) == (40, 0)
    with FeatureCache(report.directory) as cache:
        assert len(cache.rows_of) == 40


def test_a_stretch_of_a_file_and_the_whole_are_different_clips(tmp_path):
    (clip,) = corpus(tmp_path / "a", 1, seconds=(3.0, 3.0))
    part = replace(clip, end=1.0)
    assert audio.identity(part) != audio.identity(clip)
    run([part], tmp_path / "f")
    with pytest.raises(ExtractError, match="clip0"):
        run([clip], tmp_path / "f")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_claims_are_freed_by_a_process_that_ends(tmp_path):
    path = tmp_path / "shard-00000.h5"
    code = (
        "import os; from pathlib import Path; from svuprobe.extractors.cache import claim\n"
        f"c = claim(Path({str(path)!r})); assert c.__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    with claim(path) as mine:
        assert mine


# -- the audio is another now, or none -------------------------------------------------------------


def shard_times(directory):
    return {path.name: path.stat().st_mtime_ns for path in sorted(directory.glob("shard-*.h5"))}


def test_what_is_cached_needs_no_audio(tmp_path):
    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(4)]
    (first,) = run(clips, tmp_path / "f")
    before = content(first.directory)
    for clip in clips[:3]:
        Path(clip.path).unlink()
    said = []
    (report,) = run(clips, tmp_path / "f", reporter=Reporter(said.append))
    assert (report.cached, report.done, report.failures) == (4, 0, [])
    assert said == ["3 clips are cached and their audio is not there now"]
    assert content(first.directory).keys() == before.keys()


@pytest.mark.parametrize("what", ["audio", "start", "end"])
def test_changed_clips_are_named_and_their_shards_made_again_and_no_other(tmp_path, what):
    clips = [constant(tmp_path / "a", f"c{n:02}", [0.1, 0.4, 0.2, 0.6]) for n in range(40)]
    (first,) = run(clips, tmp_path / "f")
    before, times = content(first.directory), shard_times(first.directory)
    assert len(times) == 2
    changed = [
        replace(clip, start=0.5) if what == "start" else replace(clip, end=3.0)
        for clip in clips[:5]
    ]
    if what == "audio":
        changed = [constant(tmp_path / "a", clip.id, [0.9] * 4) for clip in clips[:5]]
    now = changed + clips[5:]
    begun = []
    with pytest.raises(ExtractError) as caught:
        run(now, tmp_path / "f", begun=lambda: begun.append(1))
    line = str(caught.value)
    assert line.startswith("5 clips are not what ")
    assert all(words in line for words in ("'c00' (", "'c02' (", " and 2 more; nothing was done"))
    assert "'c03'" not in line
    assert "svuprobe extract --replace-changed" in line
    assert (begun, shard_times(first.directory)) == ([], times)
    (report,) = run(now, tmp_path / "f", replace_changed=True)
    assert (report.cached, report.done) == (8, 32)
    made_again = shard_times(first.directory)
    assert [name for name in times if times[name] == made_again[name]] == ["shard-00001.h5"]
    (fresh,) = run(now, tmp_path / "fresh")
    wanted, found = content(fresh.directory), content(first.directory)
    assert found.keys() == wanted.keys()
    assert all((found[key] == wanted[key]).all() for key in wanted)
    assert before.keys() != found.keys() or any((before[key] != found[key]).any() for key in found)
    (again,) = run(now, tmp_path / "f")
    assert again.cached == 40


@pytest.mark.parametrize(
    ("lose", "reason"),
    [("audio", "'c3' .*audio is not there now"), ("task", "'c3', which no task given here has")],
)
def test_no_clip_is_lost_for_the_sake_of_a_changed_one(tmp_path, lose, reason):
    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(4)]
    (first,) = run(clips, tmp_path / "f")
    times = shard_times(first.directory)
    constant(tmp_path / "a", "c0", [0.9, 0.9])
    if lose == "audio":
        Path(clips[3].path).unlink()
    wanted = clips if lose == "audio" else clips[:3]
    with pytest.raises(ExtractError, match=f"{reason}.*nothing was done"):
        run(wanted, tmp_path / "f", replace_changed=True)
    assert shard_times(first.directory) == times


def test_a_clip_that_failed_first_is_in_one_shard_when_the_first_is_made_again(tmp_path):
    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(4)]
    bad = Path(clips[0].path)
    whole = bad.read_bytes()
    bad.write_bytes(whole[:100])
    (report,) = run(clips, tmp_path / "f")
    assert [clip for clip, _ in report.failures] == ["c0"]
    bad.write_bytes(whole)
    run(clips, tmp_path / "f")
    constant(tmp_path / "a", "c1", [0.9, 0.9])
    (report,) = run(clips, tmp_path / "f", replace_changed=True)
    assert (report.done, report.cached) == (3, 1)
    with FeatureCache(report.directory) as cache:
        assert sorted(zip(cache.clip_id.tolist(), cache.window.tolist(), strict=True)) == [
            (f"c{n}", window) for n in range(4) for window in range(2)
        ]


def test_each_model_has_its_own_time_and_none_for_what_is_cached(tmp_path):
    class Slow(Made):
        def __call__(self, audio, lengths):
            time.sleep(0.2)
            return super().__call__(audio, lengths)

    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(3)]
    models = [Made(), Slow("hf:made/slow")]
    started = time.perf_counter()
    quick, slow = run(clips, tmp_path / "f", models)
    assert 0 < quick.wall_s < slow.wall_s
    assert 0.2 <= slow.wall_s + quick.wall_s <= time.perf_counter() - started
    assert [report.wall_s for report in run(clips, tmp_path / "f", models)] == [0, 0]
    (kept,) = speed.read(slow.directory)
    assert kept == slow.speed
    more = [*clips, constant(tmp_path / "a", "new", [0.3])]
    run(more, tmp_path / "f", models[:1])
    cached, done = run(more, tmp_path / "f", models)
    assert cached.wall_s == 0 < done.wall_s
    # What a cache says is of all that was computed, and of nothing that was there.
    assert cached.speed is None
    assert done.speed.audio_s == pytest.approx(kept.audio_s / 6)
    assert speed.read(slow.directory) == [kept + done.speed]
    assert kept.wall_s >= 0.2
    assert kept.dtype == "float32"
    assert kept.threads >= 1
    assert "times real time" in extraction.summary("toy", "clip", done)
    assert extraction.summary("toy", "clip", cached).endswith("0 clips done, 4 already cached")


def test_speeds_add_up_by_machine_and_a_damaged_file_counts_as_none(tmp_path):
    of_one = speed.Speed("Some CPU", 2, "float32", False, audio_s=10, wall_s=2, cpu_s=3)
    of_other = replace(of_one, device="Some GPU", threads=0, audio_s=50)
    for each in (of_one, of_other, of_one):
        speed.add(tmp_path, each)
    assert speed.read(tmp_path) == [of_other, of_one + of_one]
    assert (of_one + of_one).audio_s == 20
    assert (of_one + of_one).cpu_s == 6
    for text in ("", "{}", '[{"device": 1}]'):
        (tmp_path / speed.NAME).write_text(text)
        assert speed.read(tmp_path) == []


def test_a_header_that_promises_days_fails_its_clip_alone_and_counts_nothing(tmp_path, monkeypatch):
    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(2)]
    path = tmp_path / "a" / "endless.flac"
    soundfile.write(path, np.zeros(16000), 16000)
    whole = bytearray(path.read_bytes())
    whole[21] |= 0x0F  # the 36 bits of STREAMINFO's total samples
    whole[22:26] = b"\xff" * 4
    path.write_bytes(whole)
    endless = Clip("endless", str(path), "train", "x", "g")
    assert audio.duration(endless) is None
    said = []
    (report,) = run([*clips, endless], tmp_path / "f", reporter=Reporter(said.append))
    assert report.done == 2
    assert [(i, "promises 68719476735 samples" in why) for i, why in report.failures] == [
        ("endless", True)
    ]
    assert "0.00 h of audio" in said[0]
    silence = tmp_path / "a" / "silence.flac"
    soundfile.write(silence, np.zeros(3_600_000), 1000)
    assert audio.duration(replace(endless, path=str(silence))) == 3600
    usage = progress.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(progress.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(ExtractError, match=r"the longest clip is 'long' of 1\.00 h"):
        run([*clips, replace(endless, id="long", path=str(silence))], tmp_path / "g")


def test_where_nothing_can_be_written_what_is_cached_is_all_that_is_asked(tmp_path, monkeypatch):
    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(2)]
    (first,) = run(clips, tmp_path / "f")
    (first.directory / "plan.lock").touch()  # left by a killed run
    original = os.open

    def read_only(path, flags, *rest, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return original(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    (report,) = run(clips, tmp_path / "f")
    assert (report.cached, report.done) == (2, 0)


def test_the_next_run_deletes_what_a_killed_one_left(tmp_path):
    clips = [constant(tmp_path / "a", f"c{n}", [0.1, 0.2]) for n in range(2)]
    (first,) = run(clips, tmp_path / "f")
    before = sorted(path.name for path in first.directory.iterdir())
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    ending = f"tmp-{_files._host()}-{dead.pid}"
    for name in ("features.h5", "plan-00000.json", "shard-00000.h5", "shard-00007.h5"):
        (first.directory / f"{name}.{ending}").write_text("left")
        (first.directory / f"{name}.lock").touch()
    (first.directory / "plan.lock").touch()
    run(clips, tmp_path / "f")
    assert sorted(path.name for path in first.directory.iterdir()) == before


def test_prune_knows_lists_of_clips_and_folders_of_nothing_but_litter(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    ending = f"tmp-{_files._host()}-{dead.pid}"
    lists, cache = tmp_path / "tasks", tmp_path / "logmel@v1" / "own-1s-clip"
    lists.mkdir()
    cache.mkdir(parents=True)
    litter = [
        lists / f"own.json.{ending}",
        lists / "own.json.lock",
        cache / f"features.h5.{ending}",
    ]
    litter += [cache / "plan.lock", cache / f"plan-00000.json.{ending}"]
    kept = [
        lists / "own.json",
        lists / "notes.tmp-1",
        lists / f"own.json.tmp-{_files._host()}-{os.getpid()}",
    ]
    for path in (*litter, *kept):
        path.write_text("left")
    assert prune(tmp_path, dry_run=True) == dict.fromkeys(sorted(litter), 4)
    assert all(path.exists() for path in (*litter, *kept))
    assert prune(tmp_path) == dict.fromkeys(litter, 4)
    assert not cache.exists()
    assert all(path.exists() for path in kept)
    assert prune(tmp_path) == {}
