"""Make leaderboards and pictures of all results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from svuprobe._files import holds, write_text
from svuprobe.api.arguments import local_path, model_names
from svuprobe.benchmarks.exports import ExportOptions as ExportOptions, export as export_files
from svuprobe.benchmarks.leaderboard import files
from svuprobe.benchmarks.pairwise import (
    Difference as Difference,
    differences,
    protocol_differences,
)
from svuprobe.benchmarks.selection import ALL, Selection as Selection
from svuprobe.probe.protocol import ProbeError


class LeftOut(ProbeError):
    """Report files of results that could not be used; everything was made of the others.

    Attributes
    ----------
    written
        The files that were written.
    problems
        A line for each file that was left out.
    """

    def __init__(self, written: list[Path], problems: list[str]) -> None:
        self.written, self.problems = written, problems
        message = problems[0]
        if len(problems) > 1:
            message = (
                f"{len(problems)} files of results could not be used, the rest is done: "
                f"{'; '.join(problems)}"
            )
        super().__init__(message)


def leaderboard(
    results: str | Path,
    out: str | Path,
    *,
    check: bool = False,
    selection: Selection | None = None,
) -> str:
    """Write the leaderboard of all results, or of some, with CSV and JSON beside it.

    Parameters
    ----------
    results
        The folder of results.
    out
        The Markdown file.
    check
        Write nothing, and raise ProbeError for the first file that is not what the results say.
    selection
        Which results, and what models are called; None for all, by their own names.

    Returns
    -------
    str
        The Markdown.

    Raises
    ------
    ProbeError
        ``out`` is no name of a Markdown file, nothing is chosen, or with ``check`` a file is not
        what the results say.
    LeftOut
        Results, or predictions beside them, can't be used; the leaderboard of the others is
        written.

    Example
    -------
    >>> import svuprobe
    >>> text = svuprobe.leaderboard("results", "leaderboard.md")
    >>> "logmel" in text
    True
    """
    results, out, selection = local_path(results), local_path(out), selection or ALL
    # The tables beside it would be written over the Markdown itself.
    if out.suffix in (".csv", ".json"):
        raise ProbeError(
            f"{out}: the leaderboard is Markdown, with a .csv and a .json of that name beside it; "
            "name a .md"
        )
    texts, problems = files(results, out, selection)
    for path, text in texts.items():
        if not check:
            write_text(path, text)
        elif not holds(path, text):
            state = "is not what the results say" if path.is_file() else "is missing"
            again = f"svuprobe leaderboard --results {results}{selection.words} --out {out}"
            raise ProbeError(f"{path}: {state}; run {again} and commit it")
    if problems:
        raise LeftOut([] if check else list(texts), problems)
    return texts[out]


def compare(
    first: str, second: str, results: str | Path, *, selection: Selection | None = None
) -> tuple[list[Difference], list[str]]:
    """Say whether one model beats another: a difference, its interval and p-value for every task.

    Parameters
    ----------
    first, second
        Models as results name them, with ``@REVISION`` where there are several; or display names.
    results
        The folder of results.
    selection
        Which results, and what models are called; None for all, by their own names.

    Returns
    -------
    differences, problems
        One for each task and protocol that both have results of, by a paired bootstrap on the test
        clips that both have, corrected by Holm over all of them; and a line for each result that
        can't be compared.

    Raises
    ------
    ProbeError
        A model has no result, several revisions have, or they have no task in common.

    Example
    -------
    >>> import svuprobe
    >>> rows, problems = svuprobe.compare("logmel", "mfcc", "results")
    >>> -100 <= rows[0].difference <= 100
    True
    """
    return differences(local_path(results), first, second, selection or ALL)


def compare_protocols(
    first: str,
    second: str,
    results: str | Path,
    *,
    models: str | Path | Sequence[str | Path] = (),
    selection: Selection | None = None,
) -> tuple[list[Difference], list[str]]:
    """Say whether one protocol beats another, such as one head or pooling, for every model and
    task.

    Parameters
    ----------
    first, second
        Protocols as files of results are named (``linear``, ``linear-mean_std-1a2b3c4d``), with
        ``*`` for any letters; or by name or hash, where that is of one alone.
    results
        The folder of results.
    models
        Whose results, each named as `compare` takes it; of all models if none is named.
    selection
        Which results, and what models are called; None for all, by their own names.

    Returns
    -------
    differences, problems
        One for each model and task that has results under both, by the test of `compare` on the
        test clips that both have, corrected by Holm over all of them; and a line for each result
        that can't be compared.

    Raises
    ------
    ProbeError
        A protocol or a model has no result, is several, or they have no task in common.

    Example
    -------
    >>> import svuprobe
    >>> rows, problems = svuprobe.compare_protocols("linear", "knn", "results")
    >>> [row.model for row in rows]
    ['logmel']
    """
    return protocol_differences(
        local_path(results), first, second, model_names(models), selection or ALL
    )


def export(
    format: str,
    results: str | Path,
    out: str | Path,
    *,
    options: ExportOptions | None = None,
    selection: Selection | None = None,
) -> list[Path]:
    """Write results in the form that a paper, a model card or another benchmark takes.

    Parameters
    ----------
    format
        ``csv``, ``json``, ``latex`` or ``labels`` (each class, tag or target alone), one file;
        ``model-index`` and ``eval-results``, a file a model; ``mteb``, a file a result.
    results
        The folder of results.
    out
        The file, or the folder of several.
    options
        What stands beside the scores.
    selection
        Which results, and what models are called; None for all, by their own names.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ProbeError
        There is no such format, or nothing to export.
    LeftOut
        Results can't be read; the others are written.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.export("latex", "results", "table.tex")
    [PosixPath('table.tex')]
    """
    texts, problems = export_files(
        local_path(results), format, local_path(out), options or ExportOptions(), selection or ALL
    )
    for path, text in texts.items():
        write_text(path, text)
    if problems:
        raise LeftOut(list(texts), problems)
    return list(texts)


def plot(
    kind: str, results: str | Path, out: str | Path, *, selection: Selection | None = None
) -> list[Path]:
    """Draw results as PNG, SVG and CSV, or as one file.

    Parameters
    ----------
    kind
        ``scores``, ``layer-weights``, ``layer-curves`` or ``data-efficiency``.
    results
        The folder of results.
    out
        Folder of the pictures; or, for one picture, a file that ends in ``.pdf``, ``.svg`` or
        ``.png``.
    selection
        Which results, and what models are called; None for all, by their own names.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ProbeError
        There is nothing of that kind to draw, or several pictures for one file.
    LeftOut
        Results can't be read; those of the others are drawn.

    Example
    -------
    >>> import svuprobe
    >>> sorted({path.suffix for path in svuprobe.plot("scores", "results", "plots")})
    ['.csv', '.png', '.svg']
    """
    from svuprobe.benchmarks.plots import KINDS

    if kind not in KINDS:
        raise ProbeError(f"no plot {kind!r}; there are {', '.join(KINDS)}")
    results, out = local_path(results), local_path(out)
    chosen = (selection or ALL).read(results)
    problems = chosen.problems
    try:
        written = KINDS[kind](chosen.results, out, chosen.everyone)
    except ProbeError as error:
        if not problems:
            raise
        # Nothing to draw may well be due to the files that can't be read: both are said.
        unread = f"{len(problems)} files there can't be used: {problems[0]}"
        raise ProbeError(f"{error}; {unread}") from None
    if problems:
        raise LeftOut(written, problems)
    return written
