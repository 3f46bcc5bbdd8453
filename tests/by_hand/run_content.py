"""Read what a run wrote without what it measured, so that two runs can be compared.

Times, dates, and how fast a cache was filled differ from run to run, and the sizes of caches with
the digits of that. Everything else is the same bytes.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from svuprobe.extractors.cache import speed

_OF_A_RESULT = ("timings", "date")
_OF_A_ROW = ("times_real_time", "cache_bytes")


def content(folder: Path) -> dict[str, Any]:
    """Return every file below a folder by its relative path, without what was measured.

    `speed.json` is left out: it is written last, and a run that was killed needn't have it.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != speed.NAME:
            found[path.relative_to(folder).as_posix()] = without_measures(path)
    return found


def without_measures(path: Path) -> Any:
    """Return a file's bytes, or what it says but for what was measured."""
    if path.parts[-4:-3] == ("results",) and path.suffix == ".json":
        return _result(json.loads(path.read_bytes()))
    if path.stem == "leaderboard" and path.suffix in (".json", ".csv"):
        return _board(path)
    if path.name == "index.html":  # the page names its day, and says what all took under "cost"
        page = path.read_text(encoding="utf-8")
        return re.sub(r'(?s)<section id="cost".*?</section>|\b20\d\d-\d\d-\d\d\b', "", page)
    return path.read_bytes()


def _result(body: dict[str, Any]) -> dict[str, Any]:
    """Return a result; of a fine-tuned one, whose networks say how long training took, without
    their checksums.
    """
    body = {key: value for key, value in body.items() if key not in _OF_A_RESULT}
    if tuned := body["model"].get("finetune"):
        tuned.update(seconds=0, epochs=0, stages=0, peak_memory_mib=0)
        body["files"] = sorted(body["files"])
    return body


def _board(path: Path) -> Any:
    with path.open(newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            body = rows = list(csv.DictReader(file))
        else:
            body = json.load(file)
            rows = [row for table in body["tables"] for row in table["rows"]]
    for row in rows:
        for name in _OF_A_ROW:
            row.pop(name, None)
    return body
