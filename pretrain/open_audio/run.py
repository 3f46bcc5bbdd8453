"""Make a folder of audio with its list from nothing, part by part.

A part is a package of recordings or a rendering. When it is done its list is kept in
``OUT/parts``, so what was interrupted goes on with the part it was in; ``OUT/manifest.csv`` joins
them all. Parts follow each other in one order, so which of two equal recordings stays is always
the same.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from importlib import resources
from pathlib import Path

from svuprobe._files import temporary_folder, write_text
from svuprobe._progress import Reporter
from svuprobe.pretrain.open_audio import soundfonts, voices
from svuprobe.pretrain.open_audio.packages import (
    PACKAGES,
    OpenAudioError,
    Package,
    fetch,
    package_named,
    unpack,
)
from svuprobe.pretrain.open_audio.recordings import Row, Sink, convert

MANIFEST = "manifest.csv"
# Seconds of singing and number of utterances; notes and phrases of each soundfont.
SUNG_S = 2000.0
SPOKEN = 1800
PLAYED = {"fluid-soundfont-gm": (1100, 270), "timgm6mb-soundfont": (900, 230)}


@dataclass(frozen=True)
class Part:
    """Describe a part of the audio: its name, what kind of sound it is, and what makes it."""

    name: str
    kind: str
    make: Callable[[Sink], Iterable[Row | str]]


def parts(debs: Path) -> list[Part]:
    """Return all parts, in their order; packages are looked for in ``debs``."""
    made = []
    for package in PACKAGES:
        if package.kind != "font":
            made.append(Part(package.name, package.kind, _recorded(package, debs)))
    made.append(Part("svuprobe-singing", "singing", lambda sink: voices.sung(SUNG_S, sink)))
    for font in soundfonts.FONTS:
        notes, phrases = PLAYED[font.package]
        plan = soundfonts.single_notes(font, notes)
        made.append(Part(f"{font.package}-notes", "notes", _played(font, plan, debs)))
        plan = soundfonts.phrases(font, phrases)
        made.append(Part(f"{font.package}-phrases", "phrases", _played(font, plan, debs)))
    made.append(Part("spoken", "synthetic speech", lambda sink: voices.spoken(SPOKEN, sink)))
    return made


def _recorded(package: Package, debs: Path) -> Callable[[Sink], Iterator[Row | str]]:
    """Return what converts the recordings of a package."""

    def make(sink: Sink) -> Iterator[Row | str]:
        with _unpacked(package, debs, sink.root) as folder:
            yield from convert(package, folder, sink)

    return make


def _played(
    font: soundfonts.Font, plan: list[soundfonts.Slot], debs: Path
) -> Callable[[Sink], Iterator[Row | str]]:
    """Return what renders a plan."""

    def make(sink: Sink) -> Iterator[Row | str]:
        package = package_named(font.package)
        with _unpacked(package, debs, sink.root) as folder:
            path = folder / package.folder / font.file
            yield from soundfonts.write(font, package.version, path, plan, sink)

    return make


@contextmanager
def _unpacked(package: Package, debs: Path, near: Path) -> Iterator[Path]:
    """Yield a folder with the files of a package, which goes away afterwards."""
    with temporary_folder(near / "unpacked") as folder:
        unpack(fetch(package, debs), folder)
        yield folder


def build(out: Path, debs: Path, report: Reporter) -> list[Row]:
    """Make what is missing of all parts below ``out`` and write ``out/manifest.csv``.

    Parameters
    ----------
    out
        Folder; made if need be.
    debs
        Where the packages' files are, or go.
    report
        Is told each part's hours, and how the list compares with the published one.

    Returns
    -------
    list of Row
        The list, sorted by path.

    Raises
    ------
    OpenAudioError
        A package can't be had or is another one; a program is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    sink, rows = Sink(out), []
    seconds: defaultdict[str, float] = defaultdict(float)
    for part in parts(debs):
        of_part = _kept(part, sink, report)
        rows += of_part
        seconds[part.kind] += sum(row.dur_s for row in of_part)
    rows.sort(key=lambda row: row.path)
    write_text(out / MANIFEST, as_csv(rows))
    for kind, total in seconds.items():
        report.say(f"{kind}: {total / 3600:.2f} h")
    report.say(compared(rows, published()))
    return rows


def _kept(part: Part, sink: Sink, report: Reporter) -> list[Row]:
    """Return the rows of a part, from its list if an earlier run finished it."""
    kept = sink.root / "parts" / f"{part.name}.csv"
    if kept.exists():
        earlier = from_csv(kept.read_text(encoding="utf-8"))
        for row in earlier:
            sink.remember(row)
        return earlier
    rows: list[Row] = []
    left_out: list[str] = []
    for made in report.watch(part.make(sink), part.name, unit="file"):
        if isinstance(made, Row):
            rows.append(made)
        else:
            left_out.append(made)
    kept.parent.mkdir(exist_ok=True)
    write_text(kept.with_suffix(".left_out.txt"), "".join(f"{line}\n" for line in left_out))
    write_text(kept, as_csv(rows))
    hours = sum(row.dur_s for row in rows) / 3600
    report.say(f"{part.name}: {len(rows)} files, {hours:.2f} h; {len(left_out)} left out")
    return rows


def as_csv(rows: Iterable[Row]) -> str:
    """Return rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()


def from_csv(text: str) -> list[Row]:
    """Return the rows of `as_csv`; OpenAudioError where a text is another one."""
    try:
        rows = []
        for cells in csv.DictReader(io.StringIO(text), strict=True):
            seconds = float(cells.pop("dur_s"))
            rows.append(Row(dur_s=seconds, **cells))
        return rows
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise OpenAudioError(
            f"a list of parts/ isn't as it was written ({error}); delete the folder parts and "
            "start again"
        ) from None


def published() -> list[Row]:
    """Return the list of the audio that svuprobe-small was trained on."""
    data = resources.files("svuprobe.pretrain.open_audio").joinpath("published.csv.gz")
    return from_csv(gzip.decompress(data.read_bytes()).decode("utf-8"))


def compared(rows: list[Row], with_: list[Row]) -> str:
    """Return a line that says how many files of the published list are the same here."""
    here = {row.path: row.sha256 for row in rows}
    same = sum(here.get(row.path) == row.sha256 for row in with_)
    line = f"{same} of the {len(with_)} files of the published list are the same to the bit here"
    if same == len(with_) == len(rows):
        return line
    return f"{line}; other versions of libsndfile, soxr or the synthesisers round otherwise"
