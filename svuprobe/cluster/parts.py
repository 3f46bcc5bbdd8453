"""Do one part of a suite on a worker: what a run without a cluster calls, and what it said.

A user's mistake is an outcome and no exception: it ends one part and no other. Anything else that
is raised is a bug, or the system's word, and is raised again where the suite runs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from svuprobe import api
from svuprobe._errors import UserError
from svuprobe._machine import keep_freed_memory
from svuprobe._progress import Reporter
from svuprobe._run_options import RunOptions
from svuprobe.cluster.checks import require_same
from svuprobe.cluster.facts import facts
from svuprobe.extractors.base import ExtractError, Extractor
from svuprobe.extractors.loading import load
from svuprobe.extractors.shares import Share, do
from svuprobe.extractors.store.address import is_address
from svuprobe.extractors.store.opening import place_of
from svuprobe.extractors.writer import ExtractionReport
from svuprobe.pretrain.recipe import Recipe
from svuprobe.probe.protocol import Protocol

_SEEN_S = 120.0  # until what another machine has written must be seen here
# A worker of several threads does one part at a time: torch's threads, the models in memory and the
# folder that paths are relative to are the process's.
_ONE_AT_A_TIME = threading.Lock()
# Of the share before, for the next one.
_loaded: dict[str, Extractor] = {}
_known: dict[str, Any] = {}


@dataclass(frozen=True)
class Site:
    """Say where and how all parts run.

    Attributes
    ----------
    home
        The folder that paths are relative to.
    versions
        Of the process that planned: a worker that has others does nothing.
    options
        Of `RunOptions`, what differs from its defaults.
    """

    home: str
    versions: Mapping[str, str]
    options: Mapping[str, Any]


@dataclass
class Outcome:
    """Hold what became of a part: lines that it said, and why it failed, by model."""

    lines: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    reports: list[ExtractionReport] = field(default_factory=list)
    written: list[str] = field(default_factory=list)


Part = Callable[[Outcome, RunOptions], object]


def extract_share(site: Site, share: Share) -> Outcome:
    """Run models over some clips; where one fails, the others alone."""

    def work(outcome: Outcome, options: RunOptions) -> None:
        _keep_only(share.models)
        try:
            outcome.reports = do(share, _load, options)
        except UserError as error:
            if len(share.models) == 1:
                outcome.failures[share.models[0]] = str(error)
            else:
                for model in share.models:
                    try:
                        outcome.reports += do(share.of_model(model), _load, options)
                    except UserError as of_model:
                        outcome.failures[model] = str(of_model)
        if is_address(share.features):
            return  # what a store announces is seen at once
        for _, shards in share.jobs:
            paths = [share.caches[n].directory / name for n, name in shards.items()]
            outcome.written += [str(path) for path in paths if path.exists()]

    return _done(site, work)


def join_shares(site: Site, features: str, caches: Sequence[str], *shares: Outcome) -> Outcome:
    """Join caches once all shares of an extraction are done, and add up what these did.

    ``features`` is the folder or the store of all caches, in which the others lie.
    """

    def work(outcome: Outcome, options: RunOptions) -> None:
        for share in shares:
            for model, why in share.failures.items():
                outcome.failures.setdefault(model, why)
            outcome.reports += share.reports
            _wait_for(share.written)
        place = place_of(features, options.reporter)
        for name in caches:
            place.close(place.folder / name)

    return _done(site, work)


def probe_part(
    site: Site,
    task: str,
    model: str,
    protocol: Protocol,
    places: Mapping[str, str],
    *after: Outcome,
) -> Outcome:
    """Probe a model on a task; ``after`` are the outcomes of the extractions that it waits for.

    ``places`` holds the folders ``features`` and ``results``.
    """
    if any(model in extraction.failures for extraction in after):
        return Outcome()  # that its features are missing is said once

    def work(outcome: Outcome, options: RunOptions) -> None:
        try:
            api.probe(
                [task],
                [model],
                features=places["features"],
                results=places["results"],
                protocol=protocol,
                options=options,
            )
        except UserError as error:
            outcome.failures[model] = str(error)

    return _done(site, work)


def pretrain_model(site: Site, recipe: Recipe, manifest: str, out: str, *after: object) -> Outcome:
    """Pre-train a model, or go on with one; ``after`` is its teacher's outcome."""

    def work(outcome: Outcome, options: RunOptions) -> None:
        try:
            api.pretrain(
                recipe,
                manifest,
                out=out,
                options=api.PretrainOptions(
                    device=options.device, reporter=options.reporter, resume=True
                ),
            )
        except UserError as error:
            outcome.failures[out] = str(error)

    return _done(site, work)


def _done(site: Site, work: Part) -> Outcome:
    """Let a part run, as this worker may."""
    with _ONE_AT_A_TIME:
        outcome = Outcome()
        # Relative paths are those of the process that planned, and stay as they were typed: models
        # and tasks are named by them.
        os.chdir(site.home)
        if not _known:
            keep_freed_memory()  # as the command line does
            _known.update(facts({}))
        require_same(_known, site.versions)
        work(outcome, RunOptions(**site.options, reporter=Reporter(outcome.lines.append)))
        return outcome


def _keep_only(models: Sequence[str]) -> None:
    """Forget models that the next share does not run."""
    for model in set(_loaded) - set(models):
        del _loaded[model]


def _load(model: str) -> Extractor:
    if model not in _loaded:
        _loaded[model] = load(model)
    return _loaded[model]


def _wait_for(paths: Sequence[str]) -> None:
    """Wait until files of other machines are seen here: a network's folders may lag."""
    end = time.monotonic() + _SEEN_S
    for path in paths:
        while not os.path.exists(path):
            if time.monotonic() > end:
                raise ExtractError(
                    f"{path}: another worker wrote it and it is not seen here after {_SEEN_S:g} s; "
                    "every worker needs the same folders"
                )
            time.sleep(0.2)
