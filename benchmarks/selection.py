"""Choose which results are read, and what their models are called.

Whatever reads a folder of results - leaderboard, plots, exports, comparisons - reads it by a
`Selection`, so that the same words choose the same results everywhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from svuprobe._errors import did_you_mean
from svuprobe._show import shown
from svuprobe.benchmarks import suite
from svuprobe.benchmarks.suite import Wanted
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.probe.results.naming import (
    as_kept,
    display_names,
    known_as,
    shown_name,
    shown_title,
    with_display,
    without_folders,
)
from svuprobe.probe.results.result import Result
from svuprobe.probe.results.result_file import Entry

_OWN_DATA = "own data, "  # and then the TOML file, as a task's reference has it
_MOST_SAID = 20  # names in an error


@dataclass(frozen=True)
class Selection:
    """Choose results by task, model and protocol, and give models display names.

    A pattern is a name in which ``*`` stands for any letters; several patterns of one kind choose
    what any of them does, and none of a kind chooses all.

    Attributes
    ----------
    tasks
        Names of tasks, with ``.synthetic`` and windows where those matter (``technique.synthetic``,
        ``technique.window5s``), or the TOML file of a task of one's own.
    models
        Names of models, with or without ``@REVISION``, or display names.
    protocols
        Names of protocols, with or without what was changed in them (``svuprobe``,
        ``linear-seeds3``, as files of results are named), or their hashes.
    names
        Display names by the model that each stands for.

    Raises
    ------
    ProbeError
        A display name is empty or too long, or stands for two models.

    Example
    -------
    >>> import svuprobe
    >>> chosen = svuprobe.Selection(tasks=["tech*"], names={"mert-v1-95m": "MERT 95M"})
    >>> chosen.names["mert-v1-95m"]
    'MERT 95M'
    """

    tasks: str | Sequence[str] = ()
    models: str | Sequence[str] = ()
    protocols: str | Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    __repr__ = shown

    def __post_init__(self) -> None:
        """Check the patterns and the display names."""
        for kind in ("tasks", "models", "protocols"):
            patterns = getattr(self, kind)
            # One name is a list of one: its letters would each be a pattern.
            patterns = [patterns] if isinstance(patterns, (str, Path)) else patterns
            object.__setattr__(self, kind, tuple(map(str, patterns)))
        object.__setattr__(self, "names", display_names(self.names))

    @property
    def words(self) -> str:
        """Return the options of a command that choose the same, each after a blank."""
        words = []
        for kind in ("tasks", "models", "protocols"):
            words += [f" --{kind[:-1]} {shlex.quote(each)}" for each in getattr(self, kind)]
        words += [f" --as {shlex.quote(f'{name}={model}')}" for model, name in self.names.items()]
        return "".join(words)

    def read(self, results: Path) -> Selected:
        """Read the results that are chosen.

        Raises
        ------
        ProbeError
            There is no such folder or nothing in it, a pattern or a display name matches nothing,
            or none of its files could be used: what is made of results must not be replaced by one
            of none.
        """
        entries, problems = result_file.read_all(results)
        wanted, unread = suite.read_wanted(results)
        if not entries and not wanted and (meant := result_file.folder_meant(results)):
            raise ProbeError(f"{results}: results lie in {meant}; give --results {meant}")
        if problems and not entries and not wanted:
            others = f" (and {len(problems) - 1} more files)" if len(problems) > 1 else ""
            raise ProbeError(f"{problems[0]}{others}")
        entries, wanted = self._named(entries, wanted, results)
        candidates = [
            *(_Candidate.of_result(*entry) for entry in entries),
            *(_Candidate.of_wanted(one) for one in wanted),
        ]
        beside = f"; {len(problems)} files there can't be read: {problems[0]}" if problems else ""
        chosen = self._chosen(candidates, results, beside)
        if not candidates:
            raise ProbeError(f"{results}: no results; run svuprobe probe --results {results} first")
        picked = [entry for entry, keep in zip(entries, chosen, strict=False) if keep]
        asked = [one for one, keep in zip(wanted, chosen[len(entries) :], strict=True) if keep]
        everyone = [result for result, _ in entries]
        return Selected(told_apart(picked), asked, problems, unread, everyone)

    def _named(
        self, entries: Sequence[Entry], wanted: Sequence[Wanted], results: Path
    ) -> tuple[list[Entry], list[Wanted]]:
        """Give models the display names that were asked for, in place of those that are stored."""
        used = set()
        named, asked = [], []
        for result, path in entries:
            for name in known_as(result):
                if name in self.names:
                    used.add(name)
                    result = with_display(result, self.names[name])
                    break
            named.append((result, path))
        for one in wanted:
            if one.model in self.names:
                used.add(one.model)
                one = replace(one, display=self.names[one.model])
            asked.append(one)
        for model in self.names:
            if model not in used:
                there = {name for result, _ in entries for name in known_as(result)[:1]}
                raise ProbeError(
                    f"{results}: no result of a model {model!r}, which was to be called "
                    f"{self.names[model]!r}; {_hint(model, there)}"
                )
        return named, asked

    def _chosen(self, candidates: Sequence[_Candidate], results: Path, beside: str) -> list[bool]:
        """Tell of each candidate whether it is chosen; a pattern that matches none raises."""
        chosen = [True] * len(candidates)
        for kind, patterns in (
            ("task", self.tasks),
            ("model", [as_kept(name) for name in self.models]),
            ("protocol", self.protocols),
        ):
            if not patterns:
                continue
            matching = [False] * len(candidates)
            for pattern in patterns:
                matches = matcher(pattern)
                hits = [any(map(matches, one.names[kind])) for one in candidates]
                if not any(hits):
                    there = {one.names[kind][0] for one in candidates}
                    raise ProbeError(
                        f"{results}: no result of a {kind} {pattern!r}; {_hint(pattern, there)}"
                        f"{beside}"
                    )
                matching = [a or b for a, b in zip(matching, hits, strict=True)]
            chosen = [a and b for a, b in zip(chosen, matching, strict=True)]
        if candidates and not any(chosen):
            asked = [*self.tasks, *self.models, *self.protocols]
            raise ProbeError(
                f"{results}: each of {', '.join(asked)} has results, but none has all at once; "
                f"leave one out{beside}"
            )
        return chosen


ALL = Selection()


@dataclass(frozen=True)
class Selected:
    """Hold what was read of a folder of results.

    Attributes
    ----------
    entries
        Results with their paths, and with the display names that tables and pictures show.
    wanted
        What suites ask for.
    problems, unread
        A line for each file of results, or of what suites ask for, that can't be read.
    everyone
        All results that there are: a model has one colour, whatever is chosen beside it.
    """

    entries: list[Entry]
    wanted: list[Wanted]
    problems: list[str]
    unread: list[str]
    everyone: list[Result]

    @property
    def results(self) -> list[Result]:
        """Return the results without their paths."""
        return [result for result, _ in self.entries]


@dataclass(frozen=True)
class _Candidate:
    """Hold the names by which one result can be chosen, the one to show first: by task, model and
    protocol.
    """

    names: Mapping[str, Sequence[str]]

    @classmethod
    def of_result(cls, result: Result, path: Path) -> _Candidate:
        task, protocol = result.task, result.protocol
        tasks = list(dict.fromkeys([task.name, task.label]))
        if task.synthetic:
            tasks += [f"{name}.synthetic" for name in tasks]
        if task.reference.startswith(_OWN_DATA):
            tasks.append(task.reference.removeprefix(_OWN_DATA))
        return cls(
            {
                "task": tasks,
                "model": known_as(result),
                "protocol": (path.stem, protocol.name, protocol.hash),
            }
        )

    @classmethod
    def of_wanted(cls, one: Wanted) -> _Candidate:
        tasks = [one.task, f"{one.task}.synthetic"] if one.synthetic else [one.task]
        shown = one.display or without_folders(one.model)
        return cls(
            {
                "task": tasks,
                "model": (shown, one.model),
                "protocol": (one.protocol, one.hash),
            }
        )


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test of names against a pattern, in which only ``*`` is special.

    In time linear in the stars: a regular expression of thirty of them never ends.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return lambda name: name == pattern
    *between, last = rest

    def matches(name: str) -> bool:
        if not name.startswith(first):
            return False
        place = len(first)
        # Of several places of a part, the first leaves most for those behind it.
        for part in between:
            place = name.find(part, place)
            if place < 0:
                return False
            place += len(part)
        return place <= len(name) - len(last) and name.endswith(last)

    return matches


def _hint(name: str, there: Iterable[str]) -> str:
    """Say what there is, most alike first where something is, and no more than a line holds."""
    names = sorted(there)
    if not names:
        return "there are no results; run svuprobe probe"
    hint = did_you_mean(name, names, most=3, alike=0.5)
    if hint.startswith("there are") and len(names) > _MOST_SAID:
        rest = len(names) - _MOST_SAID
        return f"there are {', '.join(names[:_MOST_SAID])} and {rest} more"
    return hint


def told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Add revisions to names that stand for several models, and numbers where those are the same.

    Tables and pictures tell models apart by what they are called.
    """
    models: dict[str, list[tuple[str, str]]] = {}
    for result, _ in entries:
        which = models.setdefault(shown_title(result), [])
        key = result.model.name, result.model.revision
        if key not in which:
            which.append(key)
    apart = []
    for result, path in entries:
        which = models[shown_title(result)]
        if len(which) > 1:
            revision = result.model.revision[:8]
            title = f"{shown_name(result)}@{revision}"
            if [other[:8] for _, other in which].count(revision) > 1:
                place = which.index((result.model.name, result.model.revision))
                title += f" ({place + 1})"
            result = with_display(result, title)
        apart.append((result, path))
    return apart
