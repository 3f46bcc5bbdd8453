"""A file that hangs its decoder is given up and named; a worker never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from planted import write_task
from test_decode import WINDOWING, alive, ask, clip, expected, gone, pids, same

from svuprobe import api
from svuprobe.extractors.audio import process
from svuprobe.extractors.audio.clips import identity
from svuprobe.extractors.audio.decoders import Decoders
from svuprobe.extractors.audio.windows import Window
from svuprobe.extractors.base import ExtractError
from svuprobe.tasks.types import SPLITS, Clip

TIMEOUT_S = 1.0
# Takes the place of soxr in the workers, which load it before they open any file. Where a file's
# name has "dead" in it, asking the system for it never returns and holds Python's lock, as a page
# of a network mount that is gone does; "tired" hangs while it is decoded, and "slow" takes longer
# than the time limit, but gives a sign now and then.
FAKE = """
import builtins, ctypes, os, sys, time
sys.path.remove(os.path.dirname(__file__))
del sys.modules["soxr"]
import soundfile, soxr
stat, opens, read, names = os.stat, builtins.open, soundfile.SoundFile.read, []

def dead(path, *args, **kwargs):
    while "dead" in str(path):
        ctypes.PyDLL(None).sleep(1000)
    return stat(path, *args, **kwargs)

def noted(path, *args, **kwargs):
    names.append(str(path))
    return opens(path, *args, **kwargs)

def reads(self, *args, **kwargs):
    while "tired" in names[-1] and self.tell() > 50000:
        time.sleep(1)
    time.sleep(0.4 if "slow" in names[-1] else 0)
    return read(self, *args, **kwargs)

os.stat, builtins.open, soundfile.SoundFile.read = dead, noted, reads
"""


@pytest.fixture
def dead(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("fake")
    (folder / "soxr.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


def named(tmp_path, *names, seconds=0.5):
    return [clip(tmp_path, name, seconds) for name in names]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_that_hangs_fails_by_name_and_the_rest_is_decoded(tmp_path, dead, jobs):
    clips = named(tmp_path, "a", "dead0", "b", "c", "dead1", "d")
    with Decoders(jobs, TIMEOUT_S) as decoders:
        started = time.monotonic()
        seconds = decoders.durations(clips)
        assert [s is None for s in seconds] == ["dead" in c.id for c in clips]
        waited = time.monotonic() - started
        assert decoders.identities(clips) == [
            None if "dead" in c.id else identity(c) for c in clips
        ]
        got = list(decoders.windows(ask(clips), WINDOWING))
        heads = list(decoders.heads([c.path for c in clips]))
        assert time.monotonic() - started - waited < 5  # nothing is waited for twice
        running = pids(decoders)
    assert gone(running)
    good = [c for c in clips if "dead" not in c.id]
    same([g for g in got if g[0] in good], expected(good))
    why = "nothing could be read of it in 1 s: is its disk or network mount gone?"
    assert [end.failure for c, end in got if c not in good] == [
        f"{tmp_path}/dead{n}.wav: {why}" for n in range(2)
    ]
    assert [head.problem for head in heads] == [why if "dead" in c.id else "" for c in clips]


def many_channels(tmp_path, name, seconds=20.0):
    """A clip that is decoded in ten blocks, and gives no window before the last."""
    soundfile.write(
        tmp_path / f"{name}.wav", np.zeros((round(seconds * 16000), 32), np.int16), 16000
    )
    return Clip(name, str(tmp_path / f"{name}.wav"), "train", None, "g")


def test_a_decoder_that_hangs_in_the_middle_is_given_up(tmp_path, dead):
    clips = [*named(tmp_path, "a"), many_channels(tmp_path, "tired"), *named(tmp_path, "b")]
    with Decoders(1, TIMEOUT_S) as decoders:
        got = list(decoders.windows(ask(clips), WINDOWING))
    assert {c.id: p.failure for c, p in got if not isinstance(p, Window)} == {
        "a": None,
        "b": None,
        "tired": (
            f"{tmp_path}/tired.wav: nothing could be read of it in 1 s: is its disk or network "
            "mount gone?"
        ),
    }


def test_what_is_slow_but_gives_signs_is_waited_for(tmp_path, dead):
    with Decoders(1, TIMEOUT_S) as decoders:
        started = time.monotonic()
        windows = decoders.windows(ask([many_channels(tmp_path, "slow")]), WINDOWING)
        assert isinstance(next(windows)[1], Window)
        assert time.monotonic() - started > 3 * TIMEOUT_S
        assert [p.failure for _, p in windows if not isinstance(p, Window)] == [None]


@pytest.mark.parametrize("what", ["durations", "identities", "windows"])
def test_where_one_after_the_other_hangs_it_is_the_disk_and_work_ends(tmp_path, dead, what):
    clips = named(tmp_path, "a", *(f"dead{n}" for n in range(9)))
    with Decoders(1, TIMEOUT_S) as decoders:
        call = (
            (lambda: list(decoders.windows(ask(clips), WINDOWING))) if what == "windows" else None
        )
        with pytest.raises(
            ExtractError,
            match=r"dead0.*dead1.*dead2.*: nothing could be read of 3 files.*mount gone",
        ):
            call() if call else getattr(decoders, what)(clips)
        running = pids(decoders)
    assert gone(running)


def test_a_worker_that_is_stopped_is_replaced(tmp_path):
    clips = named(tmp_path, *"abcdef")
    with Decoders(1, TIMEOUT_S) as decoders:
        list(decoders.windows(ask(clips[:1]), WINDOWING))
        (first,) = pids(decoders)
        os.kill(first, signal.SIGSTOP)
        got = list(decoders.windows(ask(clips), WINDOWING))
        assert gone([first])
    assert [end.failure is None for _, end in got if not isinstance(end, Window)] == [
        False,
        *[True] * 5,
    ]
    same([g for g in got if g[0] is not clips[0]], expected(clips[1:]))


def test_a_worker_that_cannot_be_killed_is_left_to_the_kernel(tmp_path, dead, monkeypatch):
    # SIGKILL waits for what a process does in the kernel: here it never comes.
    monkeypatch.setattr(process, "_END_S", 0.1)
    monkeypatch.setattr(subprocess.Popen, "kill", lambda self: None)
    clips = named(tmp_path, "a", "dead", "b")
    try:
        started = time.monotonic()
        with Decoders(1, TIMEOUT_S) as decoders:
            got = list(decoders.windows(ask(clips), WINDOWING))
        assert time.monotonic() - started < 20
        assert [end.failure is None for _, end in got if not isinstance(end, Window)] == [
            True,
            False,
            True,
        ]
        assert len(process._LEFT) == 1
    finally:
        for left in process._LEFT:
            os.kill(left.pid, signal.SIGKILL)
            left.wait()
        process._LEFT.clear()


def test_extraction_names_the_clip_that_hangs_and_does_the_rest(tmp_path, dead):
    rows = []
    for n, name in enumerate(["a", "b", "dead0", "c"]):
        clip(tmp_path, name)
        rows.append(
            {
                "path": f"{name}.wav",
                "target": "xy"[n % 2],
                "split": (*SPLITS, "train")[n],
                "group": n,
            }
        )
    toml = str(write_task(tmp_path, "hangs", "multiclass", rows))
    options = api.RunOptions(jobs=1, decode_timeout_s=TIMEOUT_S)
    (report,) = api.extract(
        [toml], ["logmel"], data=tmp_path, features=tmp_path / "features", options=options
    )
    assert report.done == 3
    assert [(name, why.split(": ", 1)[1][:30]) for name, why in report.failures] == [
        ("dead0.wav", "nothing could be read of it in")
    ]


# -- orphans ---------------------------------------------------------------------------------------

PARENT = """
import os, sys, threading, time
from svuprobe.extractors.audio.windows import InputSpec
from svuprobe.extractors.audio.decoders import Decoders
from svuprobe.tasks.types import Clip, Windowing

sys.path.insert(0, sys.argv[3])  # for its workers
decoders = Decoders(2)
real = decoders._starter.submit
def submit(*args, **kwargs):
    started = real(*args, **kwargs)
    print(started.result().pid, flush=True)
    return started
decoders._starter.submit = submit
clips = [Clip(str(n), sys.argv[1], "train", None, "g") for n in range(1000)]
if sys.argv[2] == "durations":
    while True:
        decoders.durations(clips)
for n, _ in enumerate(decoders.windows(((c, [InputSpec(16000)]) for c in clips), Windowing(0.25))):
    while sys.argv[2] == "idle" and n == 3:
        time.sleep(1)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a worker that holds Python's lock does outlive it"
)
@pytest.mark.parametrize("busy", ["windows", "durations", "idle", "dead.wav"])
@pytest.mark.parametrize("after_s", [0.0, 0.2, 2.0])
def test_no_worker_outlives_a_parent_killed_at_any_moment(tmp_path, dead, busy, after_s):
    path = clip(tmp_path, "a", 30.0).path
    words = [
        sys.executable,
        "-c",
        PARENT,
        str(tmp_path / busy) if busy == "dead.wav" else path,
        busy,
        str(dead),
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        first = int(parent.stdout.readline())
        late = threading.Timer(after_s, parent.kill)
        late.start()
        workers = [first, *map(int, parent.stdout.read().split())]
        late.join()
    deadline = time.monotonic() + 2
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [worker for worker in workers if alive(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left
