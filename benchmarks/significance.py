"""Tell which models of a table are apart, from the predictions beside their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from svuprobe._text import markdown
from svuprobe.benchmarks.table_notes import listed
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result_file import Entry, require_unchanged
from svuprobe.probe.results.score import defined
from svuprobe.probe.stats import compare
from svuprobe.probe.stats.intervals import MIN_GROUPS, RESAMPLINGS


@dataclass
class Significance:
    """Say what the comparison of a table's models says.

    Attributes
    ----------
    letters
        Of each model, in the order of the entries: those that share one are not told apart.
    detectable
        The smallest difference that would be found in four of five cases; None where it is not
        known.
    notes
        Sentences for the table, in Markdown.
    problems
        A line for each file that is missing or not what was written with its result.
    """

    letters: list[str]
    detectable: float | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def compare_models(entries: Sequence[Entry]) -> Significance:
    """Compare the models of a table by the predictions beside their results.

    A model whose predictions can't be used is compared with nothing, and the others with each
    other.
    """
    significance = Significance([""] * len(entries))
    tested, untested = _read_predictions(entries, significance)
    if len(tested) < 2:
        return significance
    # A paired test needs clips that all have answered for.
    if not frozenset.intersection(*(scores.clips for scores in tested.values())):
        significance.notes.append("No test of differences: no test clip is in all results.")
        return significance
    comparison = compare.between([entries[n] for n in tested], list(tested.values()))
    for n, letter in zip(tested, comparison.letters, strict=True):
        significance.letters[n] = letter
    significance.detectable = defined(comparison.typical_detectable)
    if comparison.groups < MIN_GROUPS:  # which the notes of the results say
        return significance
    if comparison.caveat:
        significance.notes.append(
            f"{markdown(comparison.caveat[0].upper() + comparison.caveat[1:])}."
        )
    if untested:
        significance.notes.append(
            f"Differences are tested among the first {len(tested)} models alone; the other "
            f"{untested} have no letter. Of more pairs, {RESAMPLINGS:,} resamplings could tell "
            "none apart after the correction for their number."
        )
    return significance


def _read_predictions(
    entries: Sequence[Entry], significance: Significance
) -> tuple[dict[int, compare.JackknifeScores], int]:
    """Return the best models' scores by their places, and how many more could have been compared.

    Why a model is left out is added to ``significance``.
    """
    tested: dict[int, compare.JackknifeScores] = {}
    untested = 0
    undefined, unusable = [], []
    for n, (result, path) in enumerate(entries):
        if result.ranked.mean is None:
            undefined.append(shown_name(result))
            continue
        try:
            # Entries come best first, so the best are those that are compared.
            if len(tested) < compare.MOST_MODELS:
                tested[n] = compare.read(result, path)
            else:
                require_unchanged(result, path, ".npz")
                untested += 1
        except ProbeError as error:
            significance.problems.append(str(error))
            unusable.append(shown_name(result))
    if undefined:
        significance.notes.append(f"No rank, as the score is undefined: {listed(undefined)}.")
    if unusable:
        significance.notes.append(
            "Not compared, as the predictions beside the result are missing or damaged: "
            f"{listed(unusable)}."
        )
    return tested, untested
