"""What holds for every test: a terminal of no width and no colours of its own."""

import pytest


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Take away what a shell, or a worker of pytest-xdist, says of the terminal."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
