"""Read official split and label lists, shipped as package data and checked when read."""

from __future__ import annotations

import csv
import hashlib
from functools import cache
from pathlib import Path

from svuprobe.tasks.types import TaskError

FOLDER = Path(__file__).parent / "splits"
SHA256 = {
    "emomusic.tsv": "ce47bbf7429d9d618cee3138b227577fc9cc543c570ff5e57318cadee70eddc9",
    "giantsteps_key.tsv": "305ea667fae2263e81612cc34136bfad95d278d09b92d1624cbef1e6bbc38164",
    "gtzan_fault_filtered.tsv": "8fbe93775d93d390f86a5a68ec2d60e3189094d9f0d2741e545bf000a0fffe84",
    "gtzan_rhythm_beats.tsv": "e4db53d61112b913715f11ff3b4e052ef554c3515c04ac358dff1e6a4c142648",
    "medleydb_melody.tsv": "c37740b2c8e851a0dc483b2cb8014229f003fb434ab4aa98521089fc88f40e5e",
    "mtat_12_1_3.tsv": "1bbe034f4bcf67008320b870d19cfc1379c9f7620326adc56e653e0f86c9ded3",
}


@cache
def read(name: str) -> tuple[dict[str, str], ...]:
    """Read the rows of a tab-separated list; lines that begin with # are left out.

    Raises TaskError where the file is not the one that was shipped.
    """
    content = (FOLDER / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise TaskError(f"{FOLDER / name}: not the list that svuprobe ships; install it again")
    lines = (line for line in content.decode().splitlines() if not line.startswith("#"))
    return tuple(csv.DictReader(lines, delimiter="\t"))


@cache
def comment(name: str, key: str) -> tuple[str, ...]:
    """Return the values joined by | in the line ``#key<TAB>...`` of a list."""
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith(f"#{key}\t"):
            return tuple(line.split("\t", 1)[1].split("|"))
    raise KeyError(key)
