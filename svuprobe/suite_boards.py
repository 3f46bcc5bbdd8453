"""Write what a suite shows of its results: plots, the page, and the leaderboard as the last."""

from __future__ import annotations

from pathlib import Path

from svuprobe import api
from svuprobe._files import holds, write_text
from svuprobe._progress import Reporter
from svuprobe.benchmarks import leaderboard, report as pages
from svuprobe.benchmarks.plots import KINDS
from svuprobe.probe.at_hand import AtHand
from svuprobe.probe.protocol import ProbeError


def show(results: Path, out: Path, at_hand: AtHand, reporter: Reporter) -> tuple[bool, list[str]]:
    """Write plots and the page of results, then the leaderboard, if it is not what the results say.

    It comes last, as the mark of a whole run.

    Returns whether anything was written, and a line for each file of results that could not be
    used.
    """
    files, problems = leaderboard.files(results, out / "leaderboard.md")
    if all(holds(path, text) for path, text in files.items()):
        return False, problems
    for kind in KINDS:
        try:
            paths = api.plot(kind, results, out / "plots")
        except api.LeftOut as error:
            paths = error.written
        except ProbeError:  # nothing of that kind to draw
            continue
        for path in paths:
            if path.suffix == ".png":
                reporter.say(str(path))
    try:
        # What it could not use are the files that the leaderboard could not.
        reporter.say(str(pages.write(results, out / "report", at_hand)[0]))
    except ProbeError as error:  # nothing to show, or a folder of that name that is something else
        if str(error) not in problems:
            problems.append(str(error))
    for path, text in files.items():
        write_text(path, text)
    reporter.say(str(out / "leaderboard.md"))
    return True, problems
