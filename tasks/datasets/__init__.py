"""Describe the datasets on cards: what each is, under which licence, and where to get it.

Conventions
-----------
``size_gb`` is what has to be downloaded, in 10^9 bytes; ``hours`` is of audio; 0 where unknown.
``archives`` holds only what anybody may download without asking; everything else the user fetches
by hand, as ``how`` says. A checksum is either the one its publisher (or a project that verified it,
as the comment says) gives, or None: then ``svuprobe data prepare`` records the SHA-256 of what it
got.

A dataset may come with svuprobe: ``embedded`` is its folder in the package, and nothing has to be
fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from svuprobe.tasks.datasets import mtg_jamendo, nsynth, starter, vocalset

_MAGENTA = "https://storage.googleapis.com/download.magenta.tensorflow.org/datasets/nsynth"
_MIRG = "https://mirg.city.ac.uk/datasets/magnatagatune"
_GIANTSTEPS = "https://github.com/GiantSteps"


@dataclass(frozen=True)
class Archive:
    """Name one file to download, below the folder of its dataset.

    Several ``urls`` are the parts, in order, of one file that was cut. A zip or tar is unpacked
    into ``unpack_to`` without its first ``strip`` folders; any other file is put there as it is.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str | None = None  # "md5:..." or "sha256:..."
    unpack_to: str = "."
    strip: int = 0


@dataclass(frozen=True)
class Dataset:
    """Say what a user needs to know before a dataset is there.

    ``how`` says in one sentence how to get what ``archives`` does not bring; empty where it brings
    all. ``embedded`` is the folder of a dataset that comes with svuprobe. ``checksums`` takes the
    folder of a dataset that lists the SHA-256 of its files, and returns them by the file's path
    below that folder.
    """

    name: str
    title: str
    licence: str
    homepage: str
    hours: float
    size_gb: float = 0.0
    how: str = ""
    archives: tuple[Archive, ...] = ()
    embedded: Path | None = None
    checksums: Callable[[Path], Mapping[str, str]] | None = None

    @property
    def size(self) -> str:
        """Return hours and size as words."""
        # "0 h" would be wrong of a small set.
        digits = 0 if self.hours >= 1 else 1
        hours = f"about {self.hours:,.{digits}f} h of audio" if self.hours else "hours unknown"
        return f"{hours}, {self.size_gb:g} GB to download" if self.size_gb else hours

    @property
    def getting(self) -> str:
        """Return how to get all of it, as one sentence."""
        if self.embedded:
            return f"It comes with svuprobe, in {self.embedded}: nothing has to be downloaded."
        if not self.archives:
            return self.how
        return (
            "svuprobe data prepare downloads "
            f"it{', but not the audio: ' + self.how if self.how else ''}"
        )


def _nsynth(split: str, md5: str) -> Archive:
    name = f"nsynth-{split}.jsonwav.tar.gz"
    return Archive(name, (f"{_MAGENTA}/{name}",), f"md5:{md5}")


def _giantsteps(repository: str, commit: str) -> Archive:
    # GitHub packs archives on demand and promises no checksum; the commit fixes their content.
    url = f"{_GIANTSTEPS}/{repository}/archive/{commit}.zip"
    return Archive(f"{repository}.zip", (url,), unpack_to=repository, strip=1)


_CARDS = (
    Dataset(
        name="vocalset",
        title="VocalSet 1.1: 20 singers, 17 techniques, 3.6 thousand recordings",
        licence="CC BY 4.0",
        homepage="https://zenodo.org/records/1203819",
        hours=vocalset.HOURS,
        size_gb=2.1,
        archives=(
            Archive(
                "VocalSet11.zip",
                ("https://zenodo.org/records/1203819/files/VocalSet11.zip?download=1",),
                "md5:0c09396242f946e7111ad7d8fc649b81",  # Zenodo's own, records 1203819 and 1442513
            ),
        ),
    ),
    Dataset(
        name="artist20",
        title="Artist20: 20 artists, six albums of each, 1,413 songs",
        licence="commercial recordings, all rights reserved",
        homepage="https://labrosa.ee.columbia.edu/projects/artistid/",
        hours=96.8,
        size_gb=1.4,
        how=(
            "Ask LabROSA for the 16 kHz MP3s (artist20-mp3s-32k.tgz) and unpack them as "
            "<artist>/<album>/<NN-title>.mp3, or put vocals separated from them as *.wav into "
            "the same tree."
        ),
    ),
    Dataset(
        name="mir-st500",
        title="MIR-ST500: 500 Chinese pop songs with 162,438 notes",
        licence="annotations without a licence; audio from YouTube, not distributed",
        homepage="https://github.com/york135/singing_transcription_ICASSP2021",
        hours=0.0,
        how=(
            "Take MIR-ST500_corrected.json from the homepage, get each song from its link there "
            "(or ask the authors for a copy), separate its vocals and save them as "
            "<train|test>/<id>/Vocal.wav."
        ),
    ),
    Dataset(
        name="magnatagatune",
        title="MagnaTagATune: 25,863 clips of 29 s with 188 tags",
        licence="CC BY-NC-SA 3.0",
        homepage="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
        hours=209.0,
        size_gb=3.0,
        archives=(
            Archive("annotations_final.csv", (f"{_MIRG}/annotations_final.csv",)),
            Archive("mp3.zip", tuple(f"{_MIRG}/mp3.zip.00{n}" for n in (1, 2, 3)), unpack_to="mp3"),
        ),
    ),
    Dataset(
        name="giantsteps",
        title=(
            "GiantSteps key and GiantSteps-MTG key: two-minute previews of electronic dance "
            "music with keys"
        ),
        licence="annotations: none stated; audio: Beatport's previews, all rights reserved",
        homepage="https://github.com/GiantSteps/giantsteps-key-dataset",
        hours=59.0,
        how=(
            "Run audio_dl.sh inside giantsteps-key-dataset and inside "
            "giantsteps-mtg-key-dataset, which puts <id>.LOFI.mp3 into the folder audio of each."
        ),
        archives=(
            _giantsteps("giantsteps-mtg-key-dataset", "fd7b8c584f7bd6d720d170c325a6d42c9bf75a6b"),
            _giantsteps("giantsteps-key-dataset", "c8cb8aad2cb53f165be51ea099d0dc75c64a844f"),
        ),
    ),
    Dataset(
        name="gtzan",
        title="GTZAN: 1,000 clips of 30 s in ten genres",
        licence="none stated; collected from recordings whose rights were not cleared",
        homepage="https://huggingface.co/datasets/marsyas/gtzan",
        hours=8.3,  # of all 1,000; tasks use 930
        size_gb=1.2,
        how=(
            "Download genres.tar.gz from the homepage and unpack it, so that "
            "genres/<genre>/<genre>.NNNNN.wav (or .au) is there."
        ),
    ),
    Dataset(
        name="emomusic",
        title="EmoMusic (1000 songs, MediaEval 2013): 744 clips of 45 s with arousal and valence",
        licence="songs of the Free Music Archive (Creative Commons, per song); access by a form",
        homepage="https://cvml.unige.ch/databases/emoMusic/",
        hours=9.3,
        how=(
            "Fill in the form of the homepage and unpack the clips, so that "
            "clips_45seconds/<id>.mp3 is there."
        ),
    ),
    Dataset(
        name="nsynth",
        title="NSynth: 305,979 notes of 4 s from 1,006 instruments",
        licence="CC BY 4.0",
        homepage="https://magenta.tensorflow.org/datasets/nsynth",
        hours=nsynth.HOURS,
        size_gb=25.2,
        archives=(
            # As HEAR 2021's task definitions and Cloud Storage's own etags give them.
            _nsynth("test", "5e6f8719bf7e16ad0a00d518b78af77d"),
            _nsynth("valid", "87e94a00a19b6dbc99cf6d4c0c0cae87"),
            _nsynth("train", "fde6665a93865503ba598b9fac388660"),
        ),
    ),
    Dataset(
        name="mtg-jamendo",
        title="MTG-Jamendo: 55 thousand full tracks with tags of genre, instrument and mood",
        licence="metadata CC BY-NC-SA 4.0; audio Creative Commons, per track",
        homepage="https://github.com/MTG/mtg-jamendo-dataset",
        hours=mtg_jamendo.HOURS,
        size_gb=156.0,
        how=(
            "Clone the repository of the homepage into the folder and run its "
            "scripts/download/download.py with --dataset raw_30s --type audio-low --unpack, so "
            "that audio-low/NN/ID.low.mp3 is there."
        ),
    ),
    Dataset(
        name="vocadito",
        title="vocadito: 40 excerpts of solo singing with f0, notes and lyrics",
        licence="CC BY 4.0",
        homepage="https://zenodo.org/records/5578807",
        hours=0.0,
        archives=(
            Archive(
                "vocadito.zip",
                ("https://zenodo.org/records/5578807/files/vocadito.zip?download=1",),
                "md5:dea40fd18f14d899643c4ba221b33a46",  # as mirdata checks it
            ),
        ),
    ),
    Dataset(
        name="medleydb-melody",
        title="MedleyDB-Melody: 108 mixes with the f0 of their melody, by three definitions",
        licence="CC BY-NC-SA 4.0, on request",
        homepage="https://zenodo.org/records/2628782",
        hours=0.0,
        how=(
            "Ask for access at the homepage and unpack MedleyDB-Melody.zip, so that "
            "audio/<track>_MIX.wav and melody2/<track>_MELODY2.csv are there."
        ),
    ),
    Dataset(
        name="chords1217",
        title="Chords1217: 1,217 popular songs with chords",
        licence="annotations of several projects; audio: commercial recordings, not distributed",
        homepage="https://github.com/a43992899/MARBLE",
        hours=0.0,
        how=(
            "Get Chords1217.train.jsonl, .val.jsonl and .test.jsonl as MARBLE distributes them, "
            "and put the songs beside them as audio/<id>.flac or .mp3."
        ),
    ),
    Dataset(
        name="gtsinger",
        title="GTSinger: 20 singers in nine languages, six techniques marked phone by phone",
        licence="CC BY-NC-SA 4.0",
        homepage="https://huggingface.co/datasets/GTSinger/GTSinger",
        hours=80.6,
        how=(
            "Download the dataset of the homepage (hf download GTSinger/GTSinger --repo-type "
            "dataset --local-dir FOLDER), so that English/EN-Alto-1/... is there."
        ),
    ),
    Dataset(
        name="harmonix",
        title="The Harmonix Set: 912 pop songs with sections, beats and downbeats",
        licence="annotations MIT; audio: commercial recordings, not distributed",
        homepage="https://github.com/urinieto/harmonixset",
        hours=56.2,
        how=(
            "Put the songs into the folder as audio/<File>.mp3, .flac or .wav, named by the column "
            "File of dataset/metadata.csv; dataset/youtube_urls.csv says which recordings they are."
        ),
        archives=(
            # GitHub promises no checksum; the commit fixes the content.
            Archive(
                "harmonixset.zip",
                (
                    "https://github.com/urinieto/harmonixset/archive/"
                    "e35da7accdf6155c87640160ddf9199da6d10493.zip",
                ),
                strip=1,
            ),
        ),
    ),
    Dataset(
        name="singmos",
        title="SingMOS: clips of singing, most of them synthetic, with mean opinion scores",
        licence="CC BY 4.0",
        homepage="https://huggingface.co/datasets/TangRain/SingMOS",
        hours=0.0,
        how=(
            "Download the dataset of the homepage (hf download TangRain/SingMOS --repo-type "
            "dataset --local-dir FOLDER), so that metadata.csv and wav/ are there."
        ),
    ),
    Dataset(
        name=starter.DATASET,
        title="Starter: 1,412 spoken digits, played and sung notes, which come with svuprobe",
        licence="per recording: CC BY-SA 4.0, CC BY 4.0 or MIT (sources.csv and LICENCES.md there)",
        homepage="",
        hours=starter.HOURS,
        embedded=starter.FOLDER,
        checksums=starter.checksums,
    ),
)

DATASETS: dict[str, Dataset] = {card.name: card for card in _CARDS}


def embedded_folder(dataset: str) -> Path | None:
    """Return where the recordings of a dataset that comes with svuprobe lie; None for any other."""
    card = DATASETS.get(dataset)
    return card.embedded if card else None
