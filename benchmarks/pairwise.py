"""Say whether one model, or one protocol, beats another: a difference, its interval and a p-value
for every task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from svuprobe._errors import did_you_mean
from svuprobe._show import shown
from svuprobe.benchmarks import tables
from svuprobe.benchmarks.selection import ALL, Selection, matcher
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.naming import as_kept, known_as, shown_title
from svuprobe.probe.results.result_file import Entry
from svuprobe.probe.results.score import defined
from svuprobe.probe.stats.compare import compare
from svuprobe.probe.stats.pairs import holm


@dataclass(frozen=True)
class Difference:
    """Hold the difference of two models on one task under one protocol, or of two protocols.

    Attributes
    ----------
    task
        With the windows that were asked for in place of its own, where they were.
    synthetic
        Whether the audio is, so that the difference is of no real recording.
    protocol
        With all that was changed in it, as files of results are named.
    first, second
        Scores in the ranked ``metric``, means over seeds on the clips that both have.
    difference, low, high
        Of the first less the second, with its 95 % interval; the ends are None where there are too
        few test groups to say, or the two differ in too few of them.
    p, p_holm
        Two-sided, and corrected by Holm over all the rows of the comparison.
    detectable
        The true difference that this test set would find in four of five cases.
    model, against
        Where two protocols are compared, the model, and the second protocol, named as the first;
        else empty.
    """

    task: str
    synthetic: bool
    protocol: str
    metric: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    detectable: float | None
    clips: int
    groups: int
    caveat: str
    model: str = ""
    against: str = ""

    __repr__ = shown


def differences(
    results: Path, first: str, second: str, selection: Selection = ALL
) -> tuple[list[Difference], list[str]]:
    """Compare two models wherever both have a result; and a line for each unusable result.

    Raises
    ------
    ProbeError
        A model has no result, several revisions have, or the two share no task.
    """
    chosen = selection.read(results)
    problems = chosen.problems
    usable = [entry for entry in chosen.entries if not entry[0].protocol.shuffle_labels]
    _require_any(usable, problems, results)
    of_first, of_second = (_of_model(usable, name, results) for name in (first, second))
    if of_first == of_second:
        raise ProbeError(f"{first} and {second} are the same model; name two")
    compared: list[Difference] = []
    for key, one in of_first.items():
        if key in of_second:
            try:
                compared.append(_difference(one, of_second[key]))
            except ProbeError as error:
                problems.append(str(error))
    if not compared and not problems:
        raise ProbeError(
            f"{first} and {second} have no task and protocol in common in {results}; run svuprobe "
            f"probe --model {first} --model {second} first"
        )
    return _corrected(compared), problems


def protocol_differences(
    results: Path, first: str, second: str, models: Sequence[str] = (), selection: Selection = ALL
) -> tuple[list[Difference], list[str]]:
    """Compare two protocols wherever a model has a result under both; and a line for each unusable
    result.

    Parameters
    ----------
    first, second
        As files of results are named, with ``*`` for any letters, or by name or hash.
    models
        Whose; of all models if none is named.

    Raises
    ------
    ProbeError
        A protocol has no result, is several, or the two share no model and task.
    """
    chosen = selection.read(results)
    problems, entries = chosen.problems, chosen.entries
    if models:
        of_models = [_of_model(entries, name, results).values() for name in models]
        entries = list(chain.from_iterable(of_models))
    _require_any(entries, problems, results)
    of_first, of_second = (_of_protocol(entries, name, results) for name in (first, second))
    if _hashes(of_first) == _hashes(of_second):
        raise ProbeError(f"{first} and {second} are the same protocol; name two")
    compared: list[Difference] = []
    for key, one in of_first.items():
        if key in of_second:
            try:
                compared.append(_difference(one, of_second[key], across_protocols=True))
            except ProbeError as error:
                problems.append(str(error))
    if not compared and not problems:
        raise ProbeError(
            f"{results}: no model has a task under both {first} and {second}; run svuprobe probe "
            "with the one that is missing first"
        )
    return _corrected(compared), problems


def _require_any(entries: Sequence[Entry], problems: Sequence[str], results: Path) -> None:
    if not entries:
        raise ProbeError(
            problems[0]
            if problems
            else f"{results}: no results but those of shuffled labels; run svuprobe probe"
        )


def _of_protocol(entries: Sequence[Entry], name: str, results: Path) -> dict[tables.Key, Entry]:
    """Return the results under a protocol by what two that are compared agree in.

    The name of a file says it all, so it goes before that of the preset, which many may share.
    """
    matches = matcher(name)
    mine: list[Entry] = []
    for named in (
        [entry for entry in entries if entry[1].stem == name],
        [entry for entry in entries if entry[0].protocol.name == name],
        [entry for entry in entries if entry[0].protocol.hash == name],
        [entry for entry in entries if matches(entry[1].stem)],
    ):
        mine = mine or named
    if not mine:
        there = sorted({path.stem for _, path in entries})
        raise ProbeError(
            f"{results}: no result of a protocol {name!r}; {did_you_mean(name, there)}"
        )
    several = {result.protocol.hash: path.stem for result, path in mine}
    if len(several) > 1:
        shown = [f"{stem} (hash {digest})" for digest, stem in several.items()]
        raise ProbeError(
            f"{results}: {name!r} is {len(several)} protocols; name one, by its file or hash: "
            + ", ".join(sorted(shown))
        )
    of_protocol = {}
    for result, path in mine:
        key = *result.task.comparable, result.model.name, result.model.revision
        of_protocol[key] = (result, path)
    return of_protocol


def _hashes(entries: Mapping[tables.Key, Entry]) -> set[str]:
    return {result.protocol.hash for result, _ in entries.values()}


def _of_model(entries: Sequence[Entry], name: str, results: Path) -> dict[tables.Key, Entry]:
    """Return the results of a model by what two that are compared agree in."""
    names = sorted({each for result, _ in entries for each in known_as(result)})
    kept = as_kept(name)
    mine = [entry for entry in entries if kept in known_as(entry[0])]
    if not mine:
        raise ProbeError(f"{results}: no result of a model {name!r}; {did_you_mean(name, names)}")
    revisions = sorted({result.model.revision[:8] for result, _ in mine})
    if len(revisions) > 1:
        raise ProbeError(
            f"{name!r} has results of {len(revisions)} revisions; name one: "
            + ", ".join(f"{name}@{revision}" for revision in revisions)
        )
    return {tables.table_key(result): (result, path) for result, path in mine}


def _difference(one: Entry, other: Entry, *, across_protocols: bool = False) -> Difference:
    """Compare two results of one task, of two models or under two protocols."""
    comparison = compare([one, other], across_protocols=across_protocols)
    result = one[0]
    low, high, p = (
        defined(pairs[0, 1]) for pairs in (comparison.low, comparison.high, comparison.p)
    )
    told = [comparison.caveat]
    if p is not None and low is None:
        told.append("they differ in so few groups, or so alike in all, that there is no interval")
    return Difference(
        task=result.task.label,
        synthetic=result.task.synthetic,
        protocol=one[1].stem,
        metric=result.task.ranked,
        first=float(comparison.mean[0]),
        second=float(comparison.mean[1]),
        difference=float(comparison.difference[0, 1]),
        low=low,
        high=high,
        p=p,
        p_holm=None,
        detectable=defined(comparison.detectable[0, 1]),
        clips=comparison.clips,
        groups=comparison.groups,
        caveat="; ".join(filter(None, told)),
        model=shown_title(result) if across_protocols else "",
        against=other[1].stem if across_protocols else "",
    )


def _corrected(compared: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values for the number of tests, and sort by protocol, task and model."""
    tested = [n for n, each in enumerate(compared) if each.p is not None]
    corrected = dict(zip(tested, holm(np.array([compared[n].p for n in tested])), strict=True))
    done = []
    for n, each in enumerate(compared):
        done.append(replace(each, p_holm=float(corrected[n])) if n in corrected else each)
    return sorted(
        done, key=lambda each: (each.protocol != "svuprobe", each.protocol, each.task, each.model)
    )
