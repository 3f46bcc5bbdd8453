"""Worker processes: the same windows in the same order as without, whatever dies, within bounded
memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svuprobe.extractors.audio import decoders as decode, process
from svuprobe.extractors.audio.decoders import Decoders
from svuprobe.extractors.audio.windows import ClipEnd, InputSpec, Window, cut
from svuprobe.tasks.types import Clip, Windowing

RATE = 16000
SPECS = (InputSpec(16000), InputSpec(24000, 320, 80))
WINDOWING = Windowing(0.25)
# Takes the place of soxr in the workers: says something, dies of the rates 11111 and (once) 22222
# and 33333 Hz, then hands over to the real one. It counts every call.
FAKE = """
import os, signal, sys
os.write(1, b"a library that prints")
here = os.path.dirname(__file__)
sys.path.remove(here)
del sys.modules["soxr"]
import soxr
resample = soxr.resample

def fragile(samples, rate, new):
    with open(os.path.join(here, "calls"), "a") as file:
        file.write(f"{rate} ")
    marker = os.path.join(here, str(rate))
    if rate == 11111 or (rate in (22222, 33333) and not os.path.exists(marker)):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGSEGV if rate == 33333 else signal.SIGKILL)
    return resample(samples, rate, new)

soxr.resample = fragile
"""


def clip(tmp_path, name, seconds=1.0, rate=RATE) -> Clip:
    path = tmp_path / f"{name}.wav"
    samples = np.random.default_rng(len(list(tmp_path.iterdir()))).uniform(
        -0.5, 0.5, round(seconds * rate)
    )
    soundfile.write(path, samples, rate)
    return Clip(str(name), str(path), "train", lambda: "a target that can't be pickled", "g")


@pytest.fixture
def clips(tmp_path):
    """Unequal ones, and some that fail."""
    made = [clip(tmp_path, n, (n * 7 % 5 + 0.1) * 0.4) for n in range(20)]
    (tmp_path / "3.wav").write_bytes(b"")
    (tmp_path / "4.wav").unlink()
    return made


@pytest.fixture
def fake(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("fake")
    (folder / "soxr.py").write_text(FAKE)
    monkeypatch.syspath_prepend(folder)
    return folder


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # on Linux; a process nobody has waited for counts as gone
    return (
        not stat.exists() or stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    )


def gone(pids) -> bool:
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def pids(decoders: Decoders) -> list[int]:
    return [w._process.pid for w in decoders._workers if w._process is not None]


def ask(clips, specs=SPECS):
    return ((c, specs) for c in clips)


def expected(clips, specs=SPECS, windowing=WINDOWING):
    return list(chain.from_iterable(((c, p) for p in cut(c, specs, windowing)) for c in clips))


def same(one, other) -> None:
    for (clip_a, a), (clip_b, b) in zip(one, other, strict=True):
        assert clip_a is clip_b
        if isinstance(a, Window):
            assert (a.spec, a.number, a.start_s) == (b.spec, b.number, b.start_s)
            assert a.samples.dtype == np.float32
            np.testing.assert_array_equal(a.samples, b.samples)
        else:
            assert a == b


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_workers_give_what_this_process_gives_in_order(clips, jobs):
    with Decoders(jobs) as decoders:
        same(decoders.windows(ask(clips), WINDOWING), expected(clips))
        same(
            decoders.windows(ask(clips[:3], SPECS[:1]), Windowing()),
            expected(clips[:3], SPECS[:1], Windowing()),
        )
        assert list(decoders.windows([], WINDOWING)) == []
        seconds = [
            None if n in (3, 4) else pytest.approx((n * 7 % 5 + 0.1) * 0.4, abs=1e-4)
            for n in range(20)
        ]
        assert decoders.durations(clips) == seconds
        assert decoders.durations([]) == []


def test_workers_start_when_needed_and_end_on_close(clips):
    with Decoders(2) as decoders:
        assert pids(decoders) == []
        list(decoders.windows(ask(clips[:1]), WINDOWING))
        assert len(pids(decoders)) == 1
        list(decoders.windows(ask(clips), WINDOWING))
        running = pids(decoders)
        assert len(running) == 2
        assert all(map(alive, running))
        # Ctrl-C goes to the session of the terminal.
        assert all(os.getsid(pid) != os.getsid(0) for pid in running)
    assert gone(running)


def test_a_worker_loads_no_torch(clips):
    code = (
        "import sys, svuprobe.extractors.audio.worker; print({'torch', 'transformers', "
        "'librosa'} & {*sys.modules})"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "set()"
    )


def test_a_file_in_the_working_directory_takes_no_library_s_place(clips, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    with Decoders(1) as decoders:
        same(decoders.windows(ask(clips), WINDOWING), expected(clips))


def test_what_a_library_prints_does_not_get_between_the_answers(tmp_path, fake):
    clips = [clip(tmp_path, "a", rate=44100), clip(tmp_path, "b", rate=22050)]
    with Decoders(2) as decoders:
        same(decoders.windows(ask(clips), WINDOWING), expected(clips))
    assert sorted((fake / "calls").read_text().split()) == ["22050", "22050", "44100", "44100"]


def test_a_clip_that_kills_its_decoder_twice_fails_alone(tmp_path, fake):
    clips = [clip(tmp_path, n, rate=11111 if n == 2 else 44100) for n in range(6)]
    with Decoders(2) as decoders:
        got = list(decoders.windows(ask(clips), WINDOWING))
    same(
        [g for g in got if g[0] is not clips[2]], expected([c for c in clips if c is not clips[2]])
    )
    (end,) = [piece for c, piece in got if c is clips[2]]
    assert end.failure == f"{clips[2].path}: the decoder died twice while reading it (signal 9)"
    assert (fake / "calls").read_text().split().count("11111") == 2


@pytest.mark.parametrize("rate", [22222, 33333])
def test_a_decoder_that_dies_once_is_no_fault_of_the_clip(tmp_path, fake, rate):
    clips = [clip(tmp_path, n, rate=rate if n == 2 else 44100) for n in range(6)]
    with Decoders(2) as decoders:
        same(decoders.windows(ask(clips), WINDOWING), expected(clips))
    assert (fake / str(rate)).exists()


def test_a_decoder_killed_in_the_middle_of_a_clip_goes_on_behind_what_it_gave(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(decode, "_AHEAD_BYTES", 1)
    clips = [clip(tmp_path, n, 30.0) for n in range(3)]
    with Decoders(2) as decoders:
        windows = decoders.windows(ask(clips), WINDOWING)
        got = [next(windows) for _ in range(5)]
        for pid in pids(decoders):
            os.kill(pid, signal.SIGKILL)
        same([*got, *windows], expected(clips))


def test_a_worker_that_was_killed_while_idle_is_replaced(clips):
    with Decoders(1) as decoders:
        list(decoders.windows(ask(clips[:1]), WINDOWING))
        (pid,) = pids(decoders)
        os.kill(pid, signal.SIGKILL)
        assert gone([pid])
        same(decoders.windows(ask(clips), WINDOWING), expected(clips))


def test_a_header_that_kills_a_worker_costs_its_own_duration_only(tmp_path, clips, monkeypatch):
    worker = process.Worker(ThreadPoolExecutor(1), 60.0)
    real = worker.ask

    def fragile(request):
        if any(c.id == "7" for c in request.clips):
            worker.kill()
            raise process.Died(worker.end())
        yield from real(request)

    monkeypatch.setattr(worker, "ask", fragile)
    with Decoders(1) as decoders:
        decoders._workers = [worker]
        seconds = Decoders(0).durations(clips)
        assert decoders.durations(clips) == [
            None if c.id == "7" else s for c, s in zip(clips, seconds, strict=True)
        ]


def test_what_waits_is_bounded_and_nobody_waits_for_ever(tmp_path, monkeypatch):
    limit, window_bytes = 100_000, round(0.25 * RATE) * 4
    monkeypatch.setattr(decode, "_AHEAD_BYTES", limit)
    clips = [clip(tmp_path, n, 20.0 if n in (0, 7) else 2.0) for n in range(12)]
    most, pieces = 0, []
    with Decoders(3) as decoders:
        for piece in decoders.windows(ask(clips, SPECS[:1]), WINDOWING):
            pieces.append(piece)
            if len(pieces) < 20:
                time.sleep(0.02)  # the others decode ahead
            most = max(most, decoders._ahead._bytes)
    same(pieces, expected(clips, SPECS[:1]))
    assert limit - window_bytes <= most <= limit + 4 * window_bytes


def test_requests_are_taken_a_bounded_number_ahead_in_the_caller_s_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "_AHEAD_CLIPS", 2)
    clips = [clip(tmp_path, n, 0.3) for n in range(30)]
    taken = []

    def requests():
        for c in clips:
            assert threading.current_thread() is threading.main_thread()
            taken.append(c)
            yield c, SPECS

    done = 0
    with Decoders(2) as decoders:
        for _, piece in decoders.windows(requests(), WINDOWING):
            assert len(taken) <= done + 4
            done += isinstance(piece, ClipEnd)
    assert done == 30


def test_an_error_of_the_caller_ends_the_work_and_the_next_call_is_sound(tmp_path):
    clips = [clip(tmp_path, n, 30.0) for n in range(8)]

    def requests():
        yield from ask(clips)
        raise KeyError("the caller's own")

    with Decoders(2) as decoders:
        with pytest.raises(KeyError):
            list(decoders.windows(requests(), WINDOWING))
        abandoned = decoders.windows(ask(clips), WINDOWING)
        next(abandoned)
        running = pids(decoders)
        abandoned.close()
        assert gone(running)
        assert not [t for t in decoders._ahead._threads if t.is_alive()]
        same(decoders.windows(ask(clips[:2]), WINDOWING), expected(clips[:2]))


def test_closing_in_the_middle_of_a_clip_ends_everything(tmp_path):
    decoders = Decoders(2)
    windows = decoders.windows(ask([clip(tmp_path, n, 60.0) for n in range(4)]), WINDOWING)
    next(windows)
    running = pids(decoders)
    started = time.monotonic()
    decoders.close()
    assert gone(running)
    assert time.monotonic() - started < 3


def test_a_bug_in_a_worker_keeps_its_traceback(clips):
    with Decoders(1) as decoders:
        with pytest.raises(
            RuntimeError, match=r"(?s)in a decoder process:.*Traceback.*spans.*TypeError"
        ):
            list(decoders.windows(ask(clips), Windowing("a word")))
        same(decoders.windows(ask(clips), WINDOWING), expected(clips))


def test_a_worker_that_cannot_start_says_why(clips, monkeypatch):
    monkeypatch.setattr(process, "_MAIN", "import svuprobe.no_such_part")
    with (
        Decoders(2) as decoders,
        pytest.raises(RuntimeError, match=r"(?s)can't start: .*no_such_part"),
    ):
        list(decoders.windows(ask(clips), WINDOWING))


ORPHANS = """
import os, signal, sys
from svuprobe.extractors.audio.windows import InputSpec
from svuprobe.extractors.audio.decoders import Decoders
from svuprobe.tasks.types import Clip, Windowing
decoders = Decoders(2)
clips = [Clip(str(n), sys.argv[1], "train", None, "g") for n in range(8)]
windows = decoders.windows(((c, [InputSpec(16000)]) for c in clips), Windowing(0.25))
while len(pids := [w._process.pid for w in decoders._workers if w._process is not None]) < 2:
    next(windows)
print(*pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    path = clip(tmp_path, "a", 60.0).path
    run = subprocess.run([sys.executable, "-c", ORPHANS, path], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    orphans = [int(pid) for pid in run.stdout.split()]
    assert len(orphans) == 2
    assert gone(orphans)
