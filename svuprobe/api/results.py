"""Hold results that a call made or found, and word the lines that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from svuprobe._show import shown
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.grids import GridChoice
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.score import Score

_NAMED_AT_THE_EDGE = 5


@dataclass(frozen=True)
class Probed:
    """Hold one result, where it is, and whether it was there already.

    ``replaced`` names the parts of the identity in which an older result at that place was another.
    """

    result: Result
    path: Path
    cached: bool
    replaced: tuple[str, ...] = ()

    __repr__ = shown


class PartlyDone(ProbeError):
    """Report that some of what was asked could not be done, and the rest is.

    Attributes
    ----------
    done
        What was done.
    problems
        A line for each thing that was not.
    """

    def __init__(self, done: list[Probed], problems: list[str]) -> None:
        self.done, self.problems = done, problems
        message = problems[0]
        if len(problems) > 1 or done:
            asked = len(problems) + len(done)
            message = (
                f"{len(problems)} of {asked} could not be probed, the others are done: "
                f"{'; '.join(problems)}"
            )
        super().__init__(message)


def load_result(path: str | Path) -> Result:
    """Read a result.

    Parameters
    ----------
    path
        The JSON file of a probe or of fine-tuning.

    Returns
    -------
    Result
        Scores with intervals, layer weights and curves, protocol, counts and what else determines
        them.

    Raises
    ------
    ProbeError
        There is no such file, or it is no result.

    Example
    -------
    >>> import svuprobe
    >>> result = svuprobe.load_result("results/logmel@v1/technique.synthetic/linear.json")
    >>> 0 <= result.ranked.mean <= 1
    True
    """
    return result_file.load(Path(path))


# What a part of the identity is called where its name does not say all that it holds.
_PARTS = {"protocol": "protocol or rounding (--dtype)"}


def lines_of(probed: Probed) -> list[str]:
    """Return what is said of a result: its score, what it took the place of, its caveats."""
    result = probed.result
    ranked = result.task.ranked
    # Time of an earlier run would say nothing of this one.
    seconds = "already there" if probed.cached else f"{result.timings.total_s:.1f} s"
    lines = [
        f"{result.title}{_special(result)}: {ranked} {_score(result.ranked)}, "
        f"chance {_number(result.chance[ranked])} ({seconds})"
    ]
    if probed.replaced:
        parts = " and ".join(_PARTS.get(part, part) for part in probed.replaced)
        lines.append(f"  took the place of a result with other {parts}: {probed.path}")
    for caveat in result.caveats:
        lines.append(f"  {caveat}")
    return lines


def _special(result: Result) -> str:
    """Return what was done to the training set, so that no control is taken for a score, what was
    pooled otherwise, and whether clips are in folds.
    """
    words = []
    if result.task.folds:
        words.append(f"{result.task.folds} folds")
    if result.protocol.pooling != "mean":
        words.append(f"pooling {result.protocol.pooling}")
    share = result.protocol.train_fraction
    if share < 1:
        words.append(f"{100 * share:g} % of the training clips")
    if result.protocol.shuffle_labels:
        words.append("training labels shuffled: a control")
    return f" ({', '.join(words)})" if words else ""


def _score(score: Score) -> str:
    """Return mean, std over seeds where there are several, and interval where there is one."""
    text = _number(score.mean)
    # One seed has no spread, and a few test groups no interval.
    if score.std is not None:
        text += f" ± {_number(score.std)}"
    if score.ci95:
        low, high = score.ci95
        text += f", 95 % interval {_number(low)} to {_number(high)}"
    return text


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def at_the_edge(probed: Sequence[Probed]) -> list[str]:
    """Return a line for each kind of setting (learning rate, C, alpha, neighbours) that is the
    largest or smallest tried in some results.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for each in probed:
        choice = GridChoice.of(each.result)
        if choice is not None and choice.end:
            words = f"{each.result.title} ({choice.value:g}, the {choice.end})"
            found.setdefault((choice.name, choice.wider), []).append(words)
    lines = []
    for (name, wider), names in found.items():
        shown = ", ".join(names[:_NAMED_AT_THE_EDGE])
        rest = len(names) - _NAMED_AT_THE_EDGE
        more = f" and {rest} more" if rest > 0 else ""
        lines.append(
            f"the {name} chosen is at the edge of those tried, one beyond it may do better "
            f"({wider}): {shown}{more}"
        )
    return lines
