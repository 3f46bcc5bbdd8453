"""Write all results as one page that opens from the disk: no server, no network, nothing fetched.

Style sheet and script are inside ``index.html``, charts are SVG drawn from the results
(`charts`, `layers`, `forest`, `timeline`), and without JavaScript the page is its tables and
drawings. The numbers are those of the JSON, printed as the leaderboard prints them; intervals and
groups come from `svuprobe.probe.stats`. `gather` reads, every other module turns a part of it into
HTML, and `page` puts them together.
"""

from __future__ import annotations

from pathlib import Path

from svuprobe._files import holds, write_text, writing
from svuprobe.benchmarks.report.audio import FOLDER, Audio
from svuprobe.benchmarks.report.gather import gather
from svuprobe.benchmarks.report.page import MARKER, page
from svuprobe.benchmarks.selection import ALL, Selection
from svuprobe.probe.at_hand import AtHand
from svuprobe.probe.protocol import ProbeError

# By it a folder is known as ours, also before its first page is whole.
SIGN = "about-this-folder.txt"
_SIGN_TEXT = (
    "svuprobe report wrote this folder, and writes over it: open index.html in a browser.\n"
)


def write(
    results: Path, out: Path, at_hand: AtHand, audio: str = "none", selection: Selection = ALL
) -> tuple[Path, list[str]]:
    """Write the page of a folder of results.

    Audio comes first and the page last, in one step: whoever is killed leaves the old page, whose
    audio goes only when the new one is there.

    Returns
    -------
    page, problems
        ``out/index.html``, and a line for each file that could not be used.

    Raises
    ------
    ProbeError
        ``out`` is a folder of something else, there is no such folder of results, or none of its
        files could be used.
    """
    players = Audio(audio, out)
    _require_ours(out)
    content = gather(results, at_hand, selection)
    if not holds(out / SIGN, _SIGN_TEXT):
        write_text(out / SIGN, _SIGN_TEXT)
    text = page(content, players)
    path = out / "index.html"
    if not holds(path, text):
        write_text(path, text)
    _clear_audio(out / FOLDER, players.copies)
    return path, [*content.problems, *at_hand.problems, *players.problems]


def _require_ours(out: Path) -> None:
    """Raise ProbeError for a folder that holds anything but a report."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ProbeError(f"{out}: is a file, and a report is a folder; choose another name")
    page = out / "index.html"
    ours = (out / SIGN).is_file()
    if ours and page.is_file():
        with page.open(encoding="utf-8", errors="replace") as file:
            ours = MARKER in file.read(1000)
    if not ours and any(out.iterdir()):
        raise ProbeError(
            f"{out}: is a folder of something else, and a report would write over it; name an "
            "empty or a new one with --out"
        )


def _clear_audio(folder: Path, used: set[str]) -> None:
    """Delete the copies that only an older page played."""
    if not folder.is_dir():
        return
    with writing(folder):
        for path in folder.iterdir():
            stem = path.name.partition(".")[0]
            if path.name not in used and len(stem) == 16 and set(stem) <= set("0123456789abcdef"):
                path.unlink()
