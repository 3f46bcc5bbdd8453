"""Write predictions as files that other programs read, and as one table of all.

What a file of a kind holds is in `svuprobe.tasks.kinds`: MIDI, CSV and JAMS of notes, beat lists,
tables of labels.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from svuprobe._files import write_bytes, write_text
from svuprobe._text import cell as csv_cell
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.prediction import Prediction


def write(prediction: Prediction, stem: Path) -> list[Path]:
    """Write the files of one prediction; return their paths, the stem with the suffixes of its
    kind.
    """
    paths = []
    for suffix, content in kinds.of(prediction.task).files(prediction).items():
        paths.append(stem.with_name(stem.name + suffix))
        if isinstance(content, str):
            write_text(paths[-1], content)
        else:
            write_bytes(paths[-1], content)
    return paths


def summary(predictions: Sequence[Prediction], style: str) -> str:
    """Return all predictions as one ``table``, ``json`` or ``csv``; all but the table end in a
    newline.
    """
    if style == "table":
        return _table(predictions)
    rows: list[dict[str, Any]] = []
    for prediction in predictions:
        for row in kinds.of(prediction.task).rows(prediction):
            rows.append({"path": str(prediction.path)} | row)
    if style == "json":
        return json.dumps(rows, indent=1) + "\n"
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else ["path"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: csv_cell(value) for key, value in row.items()})
    return buffer.getvalue()


def _table(predictions: Sequence[Prediction]) -> str:
    """Return a printed table with a line a file."""
    from tabulate import tabulate

    task = predictions[0].task
    kind = kinds.of(task)
    lines = []
    for prediction in predictions:
        # What else would steer a terminal is escaped where the table is printed.
        path = str(prediction.path).replace("\n", "\\n")
        lines.append([path, f"{prediction.seconds:.1f}", *kind.cells(prediction)])
    return tabulate(lines, ["file", "seconds", *kind.columns(task)], disable_numparse=True)
