"""Word what stands above and below a table of the leaderboard; everything is Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from svuprobe._text import code, markdown
from svuprobe.benchmarks.published import Published
from svuprobe.probe import contamination
from svuprobe.probe.commands import changes
from svuprobe.probe.contamination import HOLDS, MARKS, MAY_HOLD, UNKNOWN, meaning
from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result import ProtocolInfo, Result
from svuprobe.probe.stats.intervals import MIN_GROUPS

# Models at most that a sentence names; the rest is counted.
MOST_NAMED = 5


def listed(names: Sequence[str]) -> str:
    """Return ``one, two and 3 more``, for Markdown."""
    shown = ", ".join(markdown(name) for name in names[:MOST_NAMED])
    return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def about(result: Result, protocols: Sequence[ProtocolInfo]) -> str:
    """Say what was scored on what, and how; ``protocols`` are those of all tables."""
    task, protocol, test = result.task, result.protocol, result.counts.test
    clips = {split: f"{task.splits[split]:,}" for split in ("train", "valid", "test")}
    unit = "windows" if task.scored == "window" else "clips"
    groups = f"{test.groups:,} group{'s' if test.groups > 1 else ''}"
    trained = (
        f" (heads see {100 * protocol.train_fraction:g} % of it)"
        if protocol.train_fraction < 1
        else ""
    )
    changed = changes(protocol, said=("seeds", "train_fraction", "shuffle_labels"), among=protocols)
    changed = f" with {markdown(changed)}" if changed else ""
    labels = ", **training labels shuffled**" if protocol.shuffle_labels else ""
    seeds = len(result.ranked.per_seed)
    sizes = f"{clips['train']} train{trained}, {clips['valid']} validation, {clips['test']} test"
    if task.folds:
        sizes = (
            f"{clips['test']} in **{task.folds} folds**, each tested by heads that learnt from "
            f"others: {clips['train']} train{trained} and {clips['valid']} validation on average"
        )
    return (
        f"{markdown(task.reference)}. Clips: {sizes}; scored on {getattr(test, unit):,} {unit} in "
        f"{groups}. "
        f"Protocol {code(protocol.name)} (`{protocol.hash}`){changed}{labels}, {seeds} "
        f"seed{'s' * (seeds > 1)}; split `{task.split_sha256[:8]}`, task version {task.version}."
    )


def of_results(results: Sequence[Result]) -> list[str]:
    """Say what a reader has to know before believing an interval or a mean."""
    first, notes = results[0], []
    groups = first.counts.test.groups
    if groups < MIN_GROUPS:
        words = f"Only {groups} group{'s' if groups > 1 else ''} in test, under {MIN_GROUPS}"
        notes.append(
            f"{words}: nothing can be said about others, so no interval and no test of differences."
        )
    elif unsure := [r for r in results if r.ranked.mean is not None and r.ranked.ci95 is None]:
        # (Of one seed alone nothing is known where each learns from a draw of its own.)
        names = ", ".join(dict.fromkeys(markdown(shown_name(r)) for r in unsure))
        notes.append(
            f"No interval for {names}: the groups in test are too alike, or the score hangs on one "
            "of them or on one draw of what is learnt."
        )
    notes += _caveats(results)
    undefined = first.counts.undefined
    if undefined and not any(r.caveats for r in results):
        names = ", ".join(map(markdown, undefined))
        notes.append(f"Left out of the mean, as test has no positive or no negative: {names}.")
    lacking = []
    for result in results:
        if result.counts.missing:
            lacking.append(f"{markdown(shown_name(result))} {result.counts.missing}")
    if lacking:
        further = len(lacking) - MOST_NAMED
        more = f" and of {further} more models" if further > 0 else ""
        notes.append(f"Clips without features: {', '.join(lacking[:MOST_NAMED])}{more}.")
    return notes


def _caveats(results: Sequence[Result]) -> list[str]:
    """Say what limits scores, as results have it: once where all say it, else with the models'
    names.
    """
    said: dict[str, list[str]] = {}
    for result in results:
        # In their order, each once: seeds may repeat one.
        for caveat in dict.fromkeys(result.caveats):
            said.setdefault(caveat, []).append(shown_name(result))
    lines = []
    for caveat, names in said.items():
        whose = "" if len(names) == len(results) else f" ({listed(names)})"
        lines.append(f"Caution: {markdown(caveat)}{whose}.")
    return lines


def of_contacts(results: Sequence[Result]) -> list[str]:
    """Say which models were trained on the dataset's audio or may have been, and where that
    stands.
    """
    said: dict[tuple[str, str], list[str]] = {}
    for result in results:
        met = contamination.of_result(result)
        if met is not None:
            said.setdefault((met.kind, met.why), []).append(shown_name(result))
    lines = []
    for kind in (HOLDS, MAY_HOLD, UNKNOWN):
        reasons = []
        for (of_kind, why), names in said.items():
            if of_kind == kind:
                reasons.append(f"{listed(list(dict.fromkeys(names)))}: {markdown(why)}")
        if reasons:
            lines.append(f"{MARKS[kind]} {meaning(kind)}. {'; '.join(reasons)}.")
    return lines


def of_published(others: Iterable[Published]) -> list[str]:
    """Say where published numbers are from and how they were made, each once."""
    lines = dict.fromkeys(
        markdown(f"{p.short} ({p.source.partition(', ')[2] or p.source}): {p.note}") for p in others
    )
    if not lines:
        return []
    caution = (
        "Published rows are not ranked: other code, heads and learning rates, sometimes another "
        "split."
    )
    return [f"{caution} {'; '.join(lines)}."]
