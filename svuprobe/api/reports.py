"""Make a page of all results that opens from the disk."""

from __future__ import annotations

from pathlib import Path

from svuprobe.api.arguments import local_path
from svuprobe.api.boards import LeftOut
from svuprobe.api.data import Data
from svuprobe.benchmarks import report as pages
from svuprobe.benchmarks.selection import ALL, Selection
from svuprobe.extractors.store.opening import place_of
from svuprobe.probe.at_hand import AtHand


def report(
    results: str | Path,
    out: str | Path,
    *,
    features: str | Path | None = None,
    data: Data | str | Path | None = None,
    audio: str = "none",
    selection: Selection | None = None,
) -> Path:
    """Write all results as one page: tables that sort and filter, charts, single clips.

    Parameters
    ----------
    results
        The folder of results.
    out
        The folder of the page, ``index.html``; a new one, an empty one or that of an older report.
    features
        The folder of caches, or the address of a store: their sizes, and clips with their
        references.
    data
        The folder that holds the datasets, or a `Data`: where clips are found that no list of
        extraction names.
    audio
        Whether clips that most models get wrong can be played: ``none``; ``links`` to where they
        lie; ``copies`` beside the page, which can then be moved.
    selection
        Which results, and what models are called; None for all, by their own names.

    Returns
    -------
    Path
        ``index.html``. It needs no server and no network.

    Raises
    ------
    ProbeError
        There is no such folder of results, nothing is chosen, or ``out`` is a folder of something
        else.
    LeftOut
        Results, predictions or clips can't be used; the page names them and shows the rest.

    Example
    -------
    >>> import svuprobe
    >>> svuprobe.report("results", "report").name
    'index.html'
    """
    results, out = local_path(results), local_path(out)
    folder_of = None if data is None else Data.of(data).folder
    place = None if features is None else place_of(features)
    if place is not None:
        place.fetch_lists()
    at_hand = AtHand(place, folder_of)
    path, problems = pages.write(results, out, at_hand, audio, selection or ALL)
    if problems:
        raise LeftOut([path], problems)
    return path
