"""Write what was measured as Markdown: from files beside the code, which benchmarks write."""

from __future__ import annotations

import csv
import json
import runpy
from pathlib import Path
from typing import Any

from cells import code, table

ROOT = Path(__file__).parents[2]


def coverage() -> str:
    """Write the table that tests/by_hand/interval_coverage.py made."""
    with (ROOT / "docs" / "coverage.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return table(head, rows)


def scale() -> str:
    """Write what all tasks cost, as ``benchmarks/speed/scale.py`` computes it."""
    text: str = runpy.run_path(str(ROOT / "benchmarks/speed/scale.py"))["table"]()
    return text


def encoders() -> str:
    """Write how fast encoders are, as ``benchmarks/speed/encoders.py`` measured them."""
    path = ROOT / "benchmarks/speed/results/encoders-cpu.json"
    known: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    rows = [_encoder(name, known[name]) for name in sorted(known)]
    head = (
        "encoder", "weights", "clips", "GFLOP for 1 s of audio", "seconds of audio per CPU second",
        "share of the ceiling", "times the plain loop", "over", "difference",
    )  # fmt: skip
    return table(head, rows)


def _encoder(name: str, of: dict[str, Any]) -> tuple[str, ...]:
    model, _, dtype = name.partition(" ")
    same = "difference" in of
    return (
        code(model) if dtype == "float32" else f"{code(model)} {dtype}",
        f"{of['parameters'] / 1e6:,.3g} M",
        f"{of['clips']} of {of['seconds']:g} s",
        f"{of['gflop_per_second_of_audio']:.3g}",
        f"{of['audio_seconds_per_cpu_second']:.2f}",
        f"{of['share_of_ceiling']:.0%}",
        f"{of['svuprobe']['times_plain']:.2f}",
        "the original" if same else "blocks of transformers, for an operation",
        f"{of['difference']:.0e}" if same else "",
    )
