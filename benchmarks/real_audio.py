"""Write four tasks on real recordings, as own data: their metadata comes from a manifest.

``python -m svuprobe.benchmarks.real_audio MANIFEST OUT`` reads a CSV with the columns ``path``
(relative to it) and ``labels`` (JSON) and writes a TOML and a CSV file per task into OUT:

digits
    Spoken digit (Free Spoken Digit Dataset). Speaker-disjoint: two speakers train, one validation,
    one test, so there is no interval over speakers.
speakers
    Speaker of the same clips, recordings split at random.
families
    Instrument family of notes in NSynth's layout. Instrument-disjoint: of each family's rendered
    instruments the first trains (with the recorded ones), the second validates, the third tests.
songs
    Sung notes of songs with an UltraStar file (voice with accompaniment), split by song.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from svuprobe._files import write_text
from svuprobe.probe.protocol import ProbeError

Row = dict[str, Any]
DIGIT_SPLITS = {"jackson": "train", "nicolas": "train", "theo": "valid", "yweweler": "test"}


def digits(rows: list[Row]) -> Iterator[Row]:
    """Yield spoken digits, by speaker."""
    for row in _in(rows, "spoken_digits"):
        speaker = row["speaker"]
        if speaker not in DIGIT_SPLITS:
            raise ProbeError(
                f"{row['path']}: speaker {speaker!r}; there are {', '.join(DIGIT_SPLITS)}"
            )
        yield {
            "path": row["path"],
            "target": row["digit"],
            "split": DIGIT_SPLITS[speaker],
            "group": speaker,
        }


def speakers(rows: list[Row]) -> Iterator[Row]:
    """Yield speakers of the spoken digits; svuprobe splits the recordings."""
    for row in _in(rows, "spoken_digits"):
        yield {"path": row["path"], "target": row["speaker"]}


def families(rows: list[Row]) -> Iterator[Row]:
    """Yield instrument families, by instrument."""
    rendered = _in(rows, "nsynthlike")
    seen: dict[str, list[str]] = {}
    for row in rendered:
        known = seen.setdefault(row["family"], [])
        if _instrument(row) not in known:
            known.append(_instrument(row))
    for row in rendered:
        # By name, not by the order in the manifest: rows may come in any.
        number = sorted(seen[row["family"]]).index(_instrument(row))
        if number > 2:
            raise ProbeError(
                f"{row['path']}: the fourth instrument of its family; there is one for each split"
            )
        split = ("train", "valid", "test")[number]
        yield {
            "path": row["path"],
            "target": row["family"],
            "split": split,
            "group": _instrument(row),
        }
    for row in _in(rows, "nsynth"):
        yield {
            "path": row["path"],
            "target": row["family"],
            "split": "train",
            "group": _instrument(row),
        }


def songs(rows: list[Row]) -> Iterator[Row]:
    """Yield songs with their notes: of ten, two validate and two test."""
    # By path, for the same reason.
    for n, row in enumerate(sorted(_in(rows, "singing_songs"), key=lambda r: r["path"])):
        split = {3: "valid", 4: "test", 8: "valid", 9: "test"}.get(n, "train")
        yield {
            "path": row["path"],
            "target": row["notes"],
            "split": split,
            "group": Path(row["path"]).stem,
        }


TASKS = {
    "digits": ("multiclass", digits),
    "speakers": ("multiclass", speakers),
    "families": ("multiclass", families),
    "songs": ("notes", songs),
}


# What of the labels is needed of the recordings below each folder.
_NEEDED = {
    "spoken_digits": ("speaker", "digit"),
    "nsynthlike": ("family",),
    "nsynth": ("family",),
    "singing_songs": ("notes",),
}


def _rows(manifest: Path) -> list[Row]:
    """Return a manifest's recordings, labels beside paths; ProbeError for one of another shape."""
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, strict=True)
            rows = [
                # The path is the manifest's own, whatever the labels say.
                {"path": row["path"]} | json.loads(row["labels"]) | {"path": row["path"]}
                for row in table
            ]
            for row in rows:
                for key in ("path", *_NEEDED.get(row["path"].partition("/")[0], ())):
                    if not isinstance(row.get(key), (str, int)) or not str(row[key]).isprintable():
                        raise ValueError(f"{row['path']!r} has no {key}")
    except OSError as error:
        raise ProbeError(f"{manifest}: can't be read ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, csv.Error) as error:
        raise ProbeError(
            f"{manifest}: not a manifest of recordings, path and labels as JSON ({error})"
        ) from None
    missing = [folder for folder in _NEEDED if folder != "nsynth" and not _in(rows, folder)]
    if missing:
        raise ProbeError(f"{manifest}: lists no recording below {missing[0]}/")
    return rows


def _in(rows: list[Row], folder: str) -> list[Row]:
    return [row for row in rows if row["path"].startswith(f"{folder}/")]


def _instrument(row: Row) -> str:
    """Return ``nsynth/bass_acoustic_000`` of ``nsynth/audio/bass_acoustic_000-036-050.flac``.

    The folder stays in it, since two folders count from 0.
    """
    path = Path(row["path"])
    return f"{path.parts[0]}/{path.stem.rsplit('-', 2)[0]}"


_TARGETS_IN_FILES = ("songs",)


def write(manifest: Path, out: Path) -> list[Path]:
    """Write the TOML and CSV files; returns the TOML files."""
    rows = _rows(manifest)
    # Relative, so that the folder of everything may be moved.
    there = Path(os.path.relpath(manifest.parent, out))
    written = []
    for name, (kind, select) in TASKS.items():
        # The id is the path below the manifest: the same wherever OUT is.
        found = [
            {"id": row["path"], "group": row["path"]}
            | row
            | {"path": (there / row["path"]).as_posix()}
            for row in select(rows)
        ]
        if name in _TARGETS_IN_FILES:  # they lie beside the audio
            found = [row | {"target": (there / row["target"]).as_posix()} for row in found]
        # Through the csv module, as paths may hold commas and quotes.
        text = io.StringIO()
        writer = csv.DictWriter(text, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
        write_text(out / f"{name}.csv", text.getvalue())
        toml = out / f"{name}.toml"
        # The digits and the speakers are the same recordings: one dataset, one extraction.
        dataset = 'dataset = "fsdd"\n' if name in ("digits", "speakers") else ""
        write_text(toml, f'name = "{name}"\nkind = "{kind}"\nmetadata = "{name}.csv"\n{dataset}')
        written.append(toml)
    return written


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def main(manifest: Path, out: Path) -> None:
    """Write own-data tasks for the recordings of MANIFEST into OUT."""
    for path in write(manifest, out):
        click.echo(path)


if __name__ == "__main__":
    main()
