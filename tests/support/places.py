"""Where tests and their helpers lie, for processes that tests start."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
PATHS = [str(TESTS / name) for name in ("support", "extractors", "probe", "tasks")]
