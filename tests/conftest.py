"""What holds for every test: a terminal of no width and no colours of its own, and a disk that
needn't be waited for, and an interrupt that arrives.
"""

import gc
import os
import signal

import pytest

# One thread in each process, read when libraries are: what OpenMP starts of them does not survive a
# fork, and workers of pytest-xdist take turns anyway.
os.environ["OMP_NUM_THREADS"] = "1"
# What a shell starts in the background ignores interrupts, and so do its children: tests send some.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Reading libraries makes a million objects that stay: the collector of garbage sees none of them.
gc.disable()


def pytest_collection_finish():
    """Collect garbage from here on, among what tests make, and not at every 700 objects."""
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Take away what a shell, or a worker of pytest-xdist, says of the terminal."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Leave out the wait until a disk has written: no test pulls a plug, and one of them sees that
    every file is asked for (`test_identity`).
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def sung_once(tmp_path_factory):
    """Let a module's synthetic copies of datasets be of what no other test sings again."""
    import singing

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers of this run
    folder = folder / "sung"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patched:
        for module, name in singing.SINGS:
            patched.setattr(module, name, singing.kept_in(folder, getattr(module, name)))
        yield
