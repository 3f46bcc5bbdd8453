"""List the Debian packages that the audio comes from."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from svuprobe._errors import UserError
from svuprobe._files import sha256_of


class OpenAudioError(UserError):
    """Report what the user can mend: a package or program is missing, a file is another."""


@dataclass(frozen=True)
class Package:
    """Describe a package of Debian: which one it is, and what of it is taken.

    Attributes
    ----------
    name, version
        As ``apt-cache show`` has them (Debian 12).
    sha256
        Of the package's file.
    kind
        ``speech``, ``music``, ``sounds`` or ``font``.
    licence
        Of the audio, as the package's ``copyright`` file states it.
    holds
        What is in it, in words.
    folder
        Where its audio lies.
    without
        Patterns of paths below ``folder`` that are left out.
    other_licences
        Patterns of paths whose licence is another one, with it.
    """

    name: str
    version: str
    sha256: str
    kind: str
    licence: str
    holds: str
    folder: str
    without: tuple[str, ...] = ()
    other_licences: tuple[tuple[str, str], ...] = ()

    @property
    def file(self) -> str:
        """Return the name that ``apt-get download`` gives the package's file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_all.deb"

    def takes(self, inside: str) -> bool:
        """Tell whether a file, by its path below ``folder``, is taken."""
        return not any(fnmatchcase(inside, pattern) for pattern in self.without)

    def licence_of(self, inside: str) -> str:
        """Return the licence of a file, by its path below ``folder``."""
        for pattern, licence in self.other_licences:
            if fnmatchcase(inside, pattern):
                return licence
        return self.licence


_SOUNDS = "usr/share/asterisk/sounds"


def _prompts(language: str, sha256: str, licence: str, holds: str) -> Package:
    return Package(
        f"asterisk-core-sounds-{language}-wav",
        "1.6.1-1",
        sha256,
        "speech",
        licence,
        holds,
        _SOUNDS,
        without=("*/silence/*",),
    )


PACKAGES = (
    _prompts(
        "en",
        "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
        "CC BY-SA 3.0",
        "telephone prompts, US English, one woman",
    ),
    _prompts(
        "es",
        "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
        "CC BY-SA 3.0",
        "telephone prompts, Mexican Spanish, one woman",
    ),
    _prompts(
        "fr",
        "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
        "CC BY-SA 3.0",
        "telephone prompts, Canadian French, one woman",
    ),
    _prompts(
        "it",
        "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
        "CC BY 3.0",
        "telephone prompts, Italian, one man",
    ),
    _prompts(
        "ru",
        "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
        "CC BY 3.0",
        "telephone prompts, Russian, one woman",
    ),
    Package(
        "klettres-data",
        "4:22.12.3-1",
        "1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",
        "speech",
        "GPL-2+",
        "letters and syllables in twenty languages, one or more speakers each",
        "usr/share/klettres",
    ),
    Package(
        "asterisk-moh-opsound-wav",
        "2.03-1.1",
        "8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c",
        "music",
        "CC BY-SA 3.0",
        "five pieces of music for waiting",
        "usr/share/asterisk/moh",
    ),
    Package(
        "wesnoth-1.16-music",
        "1:1.16.9-1",
        "f9bc3cde92b4ab30db5d7b85f89b4bcc3d788dd92602956d0347250850bf59bb",
        "music",
        "GPL-2+",
        "orchestral music of a game",
        "usr/share/games/wesnoth/1.16/data/core/music",
    ),
    Package(
        "asterisk-prompt-es-co",
        "0.20070403-2.1",
        "6702696e045514699e87dc8fb70f370717e5df91f821f7bec8dd0df1be008e83",
        "speech",
        "GPL-2",
        "telephone prompts, Colombian Spanish, one woman",
        "usr/share/asterisk/sounds",
        without=("*silence*",),
    ),
    Package(
        "asterisk-prompt-fr-armelle",
        "20070613-2.2",
        "162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3",
        "speech",
        "BSD",
        "telephone prompts, French, one woman",
        "usr/share/asterisk/sounds",
        without=("*silence*",),
    ),
    Package(
        "asterisk-prompt-it-menardi-wav",
        "1:1.4.22+mm20110907-3.1",
        "3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21",
        "speech",
        "CC BY-SA 3.0",
        "telephone prompts, Italian, one woman",
        "usr/share/asterisk/sounds",
        without=("*/silence/*",),
    ),
    Package(
        "tuxpaint-stamps-default",
        "2022.06.04-1",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "speech",
        "GPL-2+",
        "names of things in thirteen languages, and the sounds they make",
        "usr/share/tuxpaint/stamps",
    ),
    Package(
        "ktuberling-data",
        "4:22.12.3-1",
        "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
        "speech",
        "GPL-2+",
        "names of things in 25 languages",
        "usr/share/ktuberling/sounds",
    ),
    Package(
        "fillets-ng-data-cs",
        "1.0.1-1.1",
        "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14",
        "speech",
        "GPL-2",
        "spoken dialogues of a game, Czech",
        "usr/share/games/fillets-ng/sound",
    ),
    Package(
        "fillets-ng-data-nl",
        "1.0.1-1.1",
        "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10",
        "speech",
        "GPL-2",
        "spoken dialogues of a game, Dutch",
        "usr/share/games/fillets-ng/sound",
    ),
    Package(
        "gcin-voice",
        "0~20170223-3",
        "6a0353f0294d06f7bd901bada3d5d9eec63b66c2ec029f92da3124d93d45de70",
        "speech",
        "CC BY 3.0",
        "syllables of Mandarin, two speakers",
        "usr/share/gcin-voice/ogg",
        other_licences=(("*/3.ogg", "GPL-3 or LGPL-3"),),
    ),
    Package(
        "pocketsphinx-testdata",
        "0.8+5prealpha+1-15",
        "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
        "speech",
        "BSD-2-Clause",
        "read sentences, English",
        "usr/share/pocketsphinx/test/data",
        without=("*tidigits*",),
    ),
    Package(
        "hedgewars-data",
        "1.0.2-6",
        "722225903a72604403e6e0026e40e9a6953f47a74d94efc5f55504bc05bb4761",
        "speech",
        "GFDL-1.3",
        "lines of a game in six languages, and its noises",
        "usr/share/games/hedgewars/Data/Sounds",
        other_licences=(("Droplet*", "CC BY-SA 3.0"),),
    ),
    Package(
        "warzone2100-music",
        "4.3.3-3",
        "d3b2c9f90ea5438d45d4aff18339a03ec808e1affa9dac91f7dad61cb15ee64e",
        "music",
        "GPL-2+",
        "electronic music of a game",
        "usr/share/games/warzone2100/music",
    ),
    Package(
        "hyperrogue-music",
        "12.0q-1",
        "61ab9f4c2169442d85f42c42d26e80c1a18b93c741f3d44f1b9d83015904e7f7",
        "music",
        "CC BY-SA 3.0",
        "music of a game",
        "usr/share/hyperrogue/music",
    ),
    Package(
        "hydrogen-drumkits",
        "2017.09.19~dfsg-1",
        "6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4",
        "sounds",
        "GPL-2",
        "drums, one stroke a file",
        "usr/share/hydrogen/data/drumkits",
        without=("ColomboAcousticDrumkit/*",),
        other_licences=(
            ("Audiophob/*", "CC0 1.0"),
            ("rumpf_kit_z01_h2/*", "CC BY 3.0"),
        ),
    ),
    Package(
        "lmms-common",
        "1.2.2+dfsg1-6",
        "7d9aa55dd05f11edc57104203ee1c350e3e41f8936ab3741da2bb1158fd46c37",
        "sounds",
        "GPL-2+",
        "basses, drums, loops and single notes",
        "usr/share/lmms/samples",
        without=("waveforms/*", "shapes/*"),
    ),
    Package(
        "fluid-soundfont-gm",
        "3.1-5.3",
        "6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e",
        "font",
        "MIT",
        "FluidR3, a General MIDI soundfont",
        "usr/share/sounds/sf2",
    ),
    Package(
        "timgm6mb-soundfont",
        "1.3-5",
        "034abdfb296d9353433513dad5dbdcab46425ee6008fc02fe7039b46e75edc54",
        "font",
        "GPL-2",
        "TimGM6mb, a General MIDI soundfont",
        "usr/share/sounds/sf2",
    ),
)


def package_named(name: str) -> Package:
    """Return the package of a name in the table."""
    return next(package for package in PACKAGES if package.name == name)


def fetch(package: Package, debs: Path) -> Path:
    """Return the package's file, downloaded by ``apt-get`` if it isn't in ``debs`` yet.

    Raises
    ------
    OpenAudioError
        It can't be had here, or is not the file that the table has.
    """
    path = debs / package.file
    if not path.exists():
        debs.mkdir(parents=True, exist_ok=True)
        wanted = f"{package.name}={package.version}"
        try:
            subprocess.run(
                ["apt-get", "download", wanted], cwd=debs, check=True, capture_output=True
            )
        except (FileNotFoundError, subprocess.CalledProcessError):
            raise OpenAudioError(
                f"{path}: apt-get doesn't get it here; get {package.file} from any mirror or "
                "snapshot of Debian 12 and name its folder: --debs FOLDER"
            ) from None
    found = sha256_of(path)
    if found != package.sha256:
        raise OpenAudioError(
            f"{path}: its SHA-256 is {found}, not {package.sha256}; delete it and start again"
        )
    return path


def unpack(deb: Path, folder: Path) -> None:
    """Unpack the files of a Debian package below a folder, by ``dpkg-deb``."""
    try:
        subprocess.run(
            ["dpkg-deb", "-x", str(deb), str(folder)], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise OpenAudioError(
            "dpkg-deb isn't on this machine: it unpacks the packages; install dpkg (every Debian "
            "and Ubuntu has it, Homebrew too)"
        ) from None
    except subprocess.CalledProcessError as error:
        raise OpenAudioError(f"{deb}: can't be unpacked ({error.stderr.strip()})") from None
