"""MTG-Jamendo (Bogdanov et al. 2019): 55,525 whole tracks, 3,764 hours, with tags of genre,
instrument and mood.

Layout: the audio as ``audio-low/<NN>/<id>.low.mp3`` (or ``audio/<NN>/<id>.mp3``; where both are
there, audio-low is taken for all, never a mixture) and a clone of the dataset's repository as
``mtg-jamendo-dataset`` (its ``data`` may also lie in the folder itself), whose
``data/splits/split-0/autotagging_<subset>-<train|validation|test>.tsv`` hold the tags: CRLF line
ends, tab-separated, as many columns from the sixth on as a track has tags.

Only split-0 is used, as in MARBLE. In it no artist, and so no album, is in two splits; the group is
the artist. A single category drops its prefix (``genre---rock`` is ``rock``); the top 50 mix three
categories and keep it.
"""

from __future__ import annotations

from pathlib import Path

from svuprobe.tasks.types import Clip, TaskError

DATASET = "mtg-jamendo"
LICENCE = "metadata CC BY-NC-SA 4.0; audio: Creative Commons, see audio_licenses.txt for each track"
HOURS = 3764.0
REPOSITORY = "https://github.com/MTG/mtg-jamendo-dataset"
REFERENCE = f"Bogdanov et al. 2019, MTG-Jamendo, {REPOSITORY}"
HEADER = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
SPLIT_NAMES = {"train": "train", "validation": "valid", "test": "test"}
# Subset -> the prefix that all its tags share and labels go without.
SUBSETS = {
    "genre": "genre---",
    "instrument": "instrument---",
    "moodtheme": "mood/theme---",
    "top50tags": "",
}
# Folder -> what follows the id of a track; WAV for those who decoded the whole lot once.
AUDIO = {"audio-low": (".low.mp3", ".low.wav"), "audio": (".mp3", ".wav")}


def clips(root: Path, subset: str) -> list[Clip]:
    """Return a subset's tracks whose audio is there, in the order of its lists; the group is the
    artist.
    """
    folder, audio = splits_folder(root), audio_folder(root)
    found = []
    for name, split in SPLIT_NAMES.items():
        for track, artist, path, tags in _rows(
            folder / f"autotagging_{subset}-{name}.tsv", SUBSETS[subset]
        ):
            file = _file(audio, path)
            if file is not None:
                found.append(Clip(track, str(file), split, target=tags, group=artist))
    return found


def splits_folder(root: Path) -> Path:
    """Find where split-0 lies: in the clone of the repository, or in the folder itself."""
    places = [root / "mtg-jamendo-dataset" / "data/splits/split-0", root / "data/splits/split-0"]
    for place in places:
        if place.is_dir():
            return place
    raise TaskError(
        f"{places[0]}: no such folder; git clone {REPOSITORY} {root / 'mtg-jamendo-dataset'}"
    )


def audio_folder(root: Path) -> Path:
    """Find the folder of the audio, audio-low before audio."""
    for name in AUDIO:
        if (root / name).is_dir():
            return root / name
    raise TaskError(
        f"{root}: no folder audio-low or audio in it; the script of {REPOSITORY} downloads them "
        f"(--dataset raw_30s --type audio-low, 156 GB)"
    )


def _file(audio: Path, path: str) -> Path | None:
    """Find the audio of a track, whose ``path`` is ``<NN>/<id>.mp3``; None where it is absent."""
    stem = path.removesuffix(".mp3")
    files = (audio / f"{stem}{suffix}" for suffix in AUDIO[audio.name])
    return next((file for file in files if file.is_file()), None)


def _rows(path: Path, prefix: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Read track, artist, path and sorted tags of every line of a list.

    Text mode takes CRLF and LF alike.
    """
    try:
        header, *lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise TaskError(f"{path}: no such file; it comes with {REPOSITORY}") from None
    except UnicodeDecodeError:
        header, lines = "", []
    if tuple(header.split("\t")) != HEADER:
        raise TaskError(
            f"{path}: does not begin with the columns {' '.join(HEADER)}; clone {REPOSITORY} again"
        )
    found = []
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        # A line with fewer columns becomes one without tags, which is refused below.
        track, artist, _, file, _, *tags = line.split("\t") if line.count("\t") >= 5 else [""] * 5
        if not tags or not all(tag.startswith(prefix) and tag != prefix for tag in tags):
            raise TaskError(
                f"{path}: line {number} is not a track with tags {prefix}... from the sixth "
                f"column on; clone {REPOSITORY} again"
            )
        found.append((track, artist, file, tuple(sorted(tag.removeprefix(prefix) for tag in tags))))
    return found
