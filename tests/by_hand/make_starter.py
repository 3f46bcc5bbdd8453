"""Make the recordings of the dataset ``starter``.

``python tests/by_hand/make_starter.py MANIFEST [OUT]``. MANIFEST is a CSV with the columns ``path``
(relative to it), ``sha256``, ``licence`` and ``labels`` (JSON). What it lists in the folders
that ``SOURCES`` names is copied or cut into OUT (``tasks/datasets/starter`` of this repository if
not given), with ``sources.csv`` beside it; a licence that is not open ends the run. One manifest
gives the same bytes with one version of libsndfile: those in the repository are of 1.2.2.

Speech and singing are copied as they are. Played notes are cut to their first two seconds and
stored as Ogg Vorbis: as FLAC they alone would take more than the 12 MB that all may take together.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from svuprobe.tasks.datasets import starter

NOTE_S = 2.0
VORBIS = {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.5}
# Of four speakers two train; the others are one for each of the splits that are scored.
SPEAKERS = {"jackson": "train", "nicolas": "train", "theo": "valid", "yweweler": "test"}
# Rendered instruments are numbered within their family, three of each.
RENDERED = ("train", "valid", "test")
# Real instruments come in other numbers: the first tests, as some families have one only.
REAL = ("test", "train", "valid", "train")
PITCHES = (36, 43, 48, 55, 60, 64, 67, 72)  # MIDI numbers that each rendered instrument plays
# Notes that do not hold the pitch of their label: three are marked so by their names ("ko" is a
# failed one), and D2-4 is named D, labelled D sharp and, by pYIN, sung at 38.1.
UNSTEADY = ("A4-6-instable", "D2-4", "D2-ko", "G2-bended")


@dataclass(frozen=True)
class Source:
    """Where recordings come from: as LICENCES.md of the dataset names it."""

    name: str
    author: str
    folder: str  # below OUT


SOURCES = {
    "spoken_digits": Source("Free Spoken Digit Dataset", "Jakobovski and contributors", "digits"),
    "nsynthlike": Source("FluidR3 GM", "Frank Wen", "rendered"),
    "nsynth": Source("NSynth", "Engel et al. 2017", "nsynth"),
    "sung_notes": Source("human-voice-dataset", "vocobox", "sung"),
    "singing_solo": Source("vocadito", "Bittner et al. 2021", "solo"),
}


def main() -> None:
    """Write the recordings and their table, and say how large they are."""
    manifest = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else starter.FOLDER
    for source in SOURCES.values():
        shutil.rmtree(out / source.folder, ignore_errors=True)
    with manifest.open(encoding="utf-8", newline="") as file:
        recordings = list(csv.DictReader(file))
    rows = []
    for row in chosen(recordings):
        original = manifest.parent / row.pop("path")
        if sha256(original) != row["original_sha256"]:
            raise SystemExit(f"{original}: its SHA-256 is not that of the manifest")
        path = out / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_or_copy(original, path)
        seconds = soundfile.info(path).duration
        rows.append(row | {"seconds": f"{seconds:.3f}", "sha256": sha256(path)})
    with (out / starter.TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, starter.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["file"]))
    size = sum((out / row["file"]).stat().st_size for row in rows)
    print(f"{len(rows)} recordings, {size:,} bytes in {out}")


def chosen(recordings: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield a row for each recording that is taken, with the ``path`` of its original."""
    instruments = numbered(recordings)
    for recording in recordings:
        top, stem = recording["path"].split("/")[0], Path(recording["path"]).stem
        if top not in SOURCES or stem in UNSTEADY:
            continue
        source, labels = SOURCES[top], json.loads(recording["labels"])
        suffix = ".ogg" if top.startswith("nsynth") else ".flac"
        row = dict.fromkeys(starter.COLUMNS, "") | {
            "path": recording["path"],
            "original_sha256": recording["sha256"],
            "file": f"{source.folder}/{stem}{suffix}",
            "source": source.name,
            "author": source.author,
            "licence": recording["licence"],
        }
        if (licence := recording["licence"]) not in starter.LICENCES:
            raise SystemExit(f"{recording['path']}: {licence} is none of {starter.LICENCES}")
        if top == "spoken_digits":
            row |= {"tasks": "starter-digits", "digit": labels["digit"]}
            row |= {"group": f"digits/{labels['speaker']}"}
            row["split"] = SPEAKERS[labels["speaker"]]
        elif top == "nsynthlike":
            row |= {"tasks": "starter-family|starter-pitch|starter-pitch-height"}
            row |= {"family": labels["family"], "midi": labels["pitch"]}
            row |= {"group": f"{source.folder}/{instrument(recording)}"}
            row["split"] = RENDERED[instruments[instrument_key(recording)]]
        elif top == "nsynth":
            # All are of one pitch, and louder: a task of pitch would reward telling them by that.
            row |= {"tasks": "starter-family", "family": labels["family"], "midi": labels["pitch"]}
            row |= {"group": f"{source.folder}/{instrument(recording)}"}
            row["split"] = REAL[instruments[instrument_key(recording)] % len(REAL)]
        elif top == "sung_notes":
            # One singer: all of the notes are in one split, and test on a voice never heard.
            also = "starter-pitch|" if labels["midi"] in PITCHES else ""
            row |= {"tasks": f"{also}starter-pitch-height", "midi": labels["midi"]}
            row |= {"group": f"sung/{labels['singer']}", "split": "test"}
        else:
            # No task asks of it: it is there to be listened to and predicted on.
            row |= {"group": f"solo/{stem}", "split": "train"}
        yield row


def instrument(recording: dict[str, str]) -> str:
    """Return ``bass_acoustic_000`` of ``nsynth/audio/bass_acoustic_000-036-050.flac``."""
    return Path(recording["path"]).stem.rsplit("-", 2)[0]


def instrument_key(recording: dict[str, str]) -> tuple[str, str]:
    """Return the source and the instrument: both sources count their instruments from 0."""
    return recording["path"].split("/")[0], instrument(recording)


def numbered(recordings: list[dict[str, str]]) -> dict[tuple[str, str], int]:
    """Return the place of each instrument among those of its family and source, from 0."""
    families: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for recording in recordings:
        if recording["path"].startswith("nsynth"):
            family = json.loads(recording["labels"])["family"]
            source = recording["path"].split("/")[0]
            families.setdefault((source, family), set()).add(instrument_key(recording))
    numbers = {}
    for keys in families.values():
        for number, key in enumerate(sorted(keys, key=lambda key: key[1].rsplit("_", 1)[1])):
            numbers[key] = number
    return numbers


def cut_or_copy(original: Path, path: Path) -> None:
    """Write a recording: the beginning of a played note as Ogg Vorbis, anything else as it is."""
    if path.suffix == original.suffix:
        shutil.copyfile(original, path)
        path.chmod(0o644)
        return
    audio, rate = soundfile.read(original, dtype="float32")
    encoded = io.BytesIO()
    soundfile.write(encoded, audio[: round(NOTE_S * rate)], rate, **VORBIS)
    path.write_bytes(with_serial(encoded.getvalue(), 1))


def with_serial(stream: bytes, serial: int) -> bytes:
    """Return an Ogg stream with a serial number that is fixed; libsndfile draws one at random.

    The layout of a page is that of RFC 3533: the serial at byte 14, the checksum at 22, the number
    of segments at 26, and their lengths after it.
    """
    pages, start = bytearray(stream), 0
    while start < len(pages):
        segments = pages[start + 26]
        end = start + 27 + segments + sum(pages[start + 27 : start + 27 + segments])
        pages[start + 14 : start + 18] = serial.to_bytes(4, "little")
        pages[start + 22 : start + 26] = bytes(4)
        pages[start + 22 : start + 26] = crc(pages[start:end]).to_bytes(4, "little")
        start = end
    return bytes(pages)


def crc(page: bytes) -> int:
    """Return the checksum of an Ogg page: CRC-32 of 0x04c11db7, neither reflected nor inverted."""
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x104C11DB7 if register & 0x80000000 else 0)
    return register


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
