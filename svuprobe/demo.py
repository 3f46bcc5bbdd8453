"""Run the whole chain on what comes with svuprobe: the suite ``demo``, from audio to plots."""

from __future__ import annotations

from pathlib import Path

from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.extractors.base import ExtractError
from svuprobe.probe.results.result_file import Entry
from svuprobe.suites import make_suite


def run(out: Path, reporter: Reporter) -> list[Entry]:
    """Run every stage under ``out``, and return the results; what is there already is not done
    again.
    """
    reporter.say(
        "The chain on small open recordings and synthetic singing: what svuprobe does, in minutes."
    )
    reporter.say("")
    made = make_suite("demo", data=out / "data", out=out, options=RunOptions(reporter=reporter))
    if made.failures:
        raise ExtractError(f"{made.failures[0]}; delete {out} and run the demo again")
    return made.results


def where_to_look(out: Path, seconds: float) -> list[str]:
    """Return lines on what the demo made, and on what to do next."""
    return f"""
Done in {seconds:.0f} s. Look at
  {out / "report" / "index.html"} (open it in a browser)
  {out / "leaderboard.md"}
  {out / "plots"} (scores, layer weights, layer curves)
  {out / "results"} (one JSON per model and task, predictions beside it)
  {out / "features"} (plain HDF5: h5py.File(".../features.h5"))

Next, with a pretrained model (downloads it once):
  svuprobe extract --task technique --model mert-v1-95m --data {out / "data"} \
--features {out / "features"}
  svuprobe probe --task technique --features {out / "features"} --results {out / "results"}
  svuprobe leaderboard --results {out / "results"} --out {out / "leaderboard.md"}
or with your own audio, a TOML and a CSV file in place of the task: docs/own-data.md""".splitlines()
