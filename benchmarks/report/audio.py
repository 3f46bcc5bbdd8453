"""Make clips playable from the page: as copies beside it, as links to where they lie, or not."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from svuprobe._errors import UserError, did_you_mean
from svuprobe._files import replacing
from svuprobe.benchmarks.report.html import Html, tag
from svuprobe.probe.at_hand import Clip, excerpt_name, write_excerpt
from svuprobe.probe.protocol import ProbeError

MODES = ("none", "links", "copies")
FOLDER = "audio"


@dataclass
class Audio:
    """Hand out players; a copy is made when its player is.

    Attributes
    ----------
    mode
        ``none``, ``links`` or ``copies``.
    out
        The folder of the page.
    copies
        Names of the copies that the page plays, below the folder ``audio``.
    problems
        A line for each clip that could not be copied.
    """

    mode: str
    out: Path
    copies: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ProbeError(f"audio {self.mode!r}; {did_you_mean(self.mode, MODES)}")

    @property
    def playable(self) -> bool:
        """Return whether clips are to be played at all."""
        return self.mode != "none"

    def player(self, clip: Clip, name: str) -> Html:
        """Return a player of a clip, or that its file is not there."""
        if not Path(clip.path).is_file():
            return tag("span", "not at hand", class_="none")
        if self.mode == "links":
            source = _link(Path(clip.path), self.out)
            if clip.start or clip.end is not None:
                # Media fragments (W3C, 2012): browsers play this stretch of the file alone.
                ends = "" if clip.end is None else f",{clip.end:g}"
                source += f"#t={clip.start:g}{ends}"
        else:
            try:
                source = self._copy(clip)
            except UserError as error:
                self.problems.append(str(error))
                return tag("span", "can't be decoded", class_="none")
        return tag(
            "audio", controls=True, preload="none", src=source, aria_label=f"Listen to {name}"
        )

    def _copy(self, clip: Clip) -> str:
        """Copy a clip, unless it is there; return its address from the page."""
        name = excerpt_name(clip)
        copy = self.out / FOLDER / name
        if not copy.is_file():
            with replacing(copy) as temporary:
                write_excerpt(clip, temporary)
        self.copies.add(name)
        return f"{FOLDER}/{name}"


def _link(path: Path, out: Path) -> str:
    """Return the address of a file from the page: relative, so that both can move together."""
    try:
        relative = os.path.relpath(path.resolve(), out.resolve())
    except ValueError:  # on another drive
        return path.resolve().as_uri()
    return urllib.parse.quote(Path(relative).as_posix())
