"""Say which parts a suite has, and what each waits for: shares, the caches they fill, probes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from svuprobe._run_options import RunOptions
from svuprobe.api import Data, extraction
from svuprobe.cluster.addresses import ClusterError
from svuprobe.cluster.parts import (
    Outcome,
    extract_share,
    join_shares,
    pretrain_model,
    probe_part,
)
from svuprobe.cluster.tasks import Cluster, on_cluster
from svuprobe.extractors.cache import size_of
from svuprobe.extractors.extract import Extraction
from svuprobe.extractors.jobs import Job
from svuprobe.extractors.shares import deal
from svuprobe.extractors.writer import ExtractionReport
from svuprobe.probe.protocol import FRAME_POOLINGS
from svuprobe.suite_models import PretrainJob
from svuprobe.suite_parts import Part, lines_of, together_or_alone

_LIBRARIES = 2 << 30  # bytes that a worker holds without any model
_COPIES = 3  # of a cache's bytes, while heads are trained on it: float32, and a copy that is scaled


class _Extraction(NamedTuple):
    """Hold the reports of an extraction that workers do, as far as it was planned."""

    dataset: str
    level: str
    reports: list[ExtractionReport]


class SuiteOnCluster:
    """Do the parts of a suite on the cluster that options name; connect when there are some.

    A context manager: it ends the workers that it started.
    """

    def __init__(self, folders: Sequence[Path], data: Data, options: RunOptions) -> None:
        self._seen = [folder for folder in (data.root, *data.elsewhere.values()) if folder.is_dir()]
        self._folders, self._options = folders, replace(options, names={})
        self._held = ExitStack()
        self._cluster: Cluster | None = None

    def __enter__(self) -> SuiteOnCluster:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def start(self) -> Cluster:
        """Connect, unless that was done; raise ClusterError where the workers will not do."""
        if self._cluster is None:
            self._cluster = self._held.enter_context(
                on_cluster(self._folders, self._seen, self._options)
            )
        return self._cluster

    def pretrain(self, jobs: Sequence[PretrainJob]) -> None:
        """Pre-train models, each after its teacher.

        Raises ClusterError with the first that can't be: the models are what the suite asks about.
        """
        cluster = self.start()
        futures: dict[Path, Any] = {}
        for job in jobs:
            after = [futures[job.teacher]] if job.teacher in futures else []
            futures[job.model] = cluster.submit(
                f"pretrain-{job.model.name}",
                pretrain_model,
                job.recipe,
                str(job.manifest),
                str(job.model),
                *after,
                memory=_LIBRARIES,
            )
        what = {future: f"pre-training of {model.name}" for model, future in futures.items()}
        for future, outcome in cluster.outcomes(what):
            if isinstance(outcome, str):
                raise ClusterError(outcome)
            for why in outcome.failures.values():
                raise ClusterError(f"{what[future]}: {why}")

    def make(
        self, groups: Sequence[Sequence[Part]], data: Data, features: str, results: Path
    ) -> list[str]:
        """Plan one dataset after the other, while workers are at those before; wait for all."""
        parts = _Parts(self.start(), data, features, results, self._options)
        for group in groups:
            parts.add(group)
        return parts.finish()


class _Parts:
    """Hold what was handed out of a suite, as futures."""

    def __init__(
        self, cluster: Cluster, data: Data, features: str, results: Path, options: RunOptions
    ) -> None:
        self._cluster, self._data, self._options = cluster, data, options
        self._features, self._results = features, results
        # By their futures: what each is, and of which part or extraction.
        self._what: dict[Any, str] = {}
        self._probes: dict[Any, Part] = {}
        self._extractions: dict[Any, _Extraction] = {}
        self._failures: dict[str, str] = {}

    def add(self, group: Sequence[Part]) -> None:
        """Plan what is missing on one dataset, and hand it to the workers."""
        for frames in (False, True):
            of_level = [one for one in group if (one.protocol.pooling in FRAME_POOLINGS) == frames]
            if not of_level:
                continue
            models = list(dict.fromkeys(one.model for one in of_level))
            tasks = list(dict.fromkeys(one.asked.typed for one in of_level))
            several, failures = together_or_alone(
                models, functools.partial(self._plan, tasks, frames)
            )
            self._failures |= failures
            after: list[Any] = []
            sizes: dict[str, float] = {}
            for planned in several:
                for each in planned:
                    sizes |= _sizes(each)
                    after.append(self._extract(each))
            for one in of_level:
                if one.model not in failures:
                    self._probe(one, after, sizes)

    def finish(self) -> list[str]:
        """Wait until every part is done; return why parts failed, a line each."""
        for future, outcome in self._cluster.outcomes(self._what):
            one = self._probes.get(future)
            if one is not None:
                what = f"{one.model} on {one.asked.task.name}"
                if isinstance(outcome, str):
                    self._failures[what] = outcome
                elif one.model in outcome.failures:
                    self._failures[what] = outcome.failures[one.model]
            elif isinstance(outcome, Outcome):
                self._failures |= outcome.failures
                self._report(future, outcome)
            else:
                self._failures[self._what[future]] = outcome
        return lines_of(self._failures)

    def _plan(self, tasks: list[str], frames: bool, models: list[str]) -> list[Extraction]:
        return extraction.plan(
            tasks,
            models,
            data=self._data,
            features=self._features,
            frames=frames,
            options=self._cluster.planning(self._options),
        )

    def _extract(self, planned: Extraction) -> Any:
        """Hand out the jobs of an extraction; return the future of its caches."""
        parameters = sum(cache.extractor.parameters for cache in planned.caches)
        memory = _LIBRARIES + 4.0 * parameters  # bytes of a float32
        dataset = planned.corpus.dataset
        shares = []
        for share in deal(planned, self._cluster.shares):
            future = self._cluster.submit(f"extract-{dataset}", extract_share, share, memory=memory)
            self._what[future] = f"extraction of {dataset}"
            shares.append(future)
        caches = [f"{c.directory.parent.name}/{c.directory.name}" for c in planned.caches]
        joined = self._cluster.submit(
            f"join-{dataset}", join_shares, self._features, caches, *shares
        )
        self._what[joined] = f"caches of {dataset}"
        reports = [cache.report for cache in planned.caches]
        self._extractions[joined] = _Extraction(dataset, planned.corpus.level, reports)
        return joined

    def _probe(self, one: Part, after: Sequence[Any], sizes: Mapping[str, float]) -> None:
        """Hand out a probe, which waits for the caches of its dataset."""
        places = {"features": self._features, "results": str(self._results)}
        future = self._cluster.submit(
            f"probe-{one.asked.task.name}",
            probe_part,
            one.asked.typed,
            one.model,
            one.protocol,
            places,
            *after,
            memory=_LIBRARIES + _COPIES * sizes.get(one.model, 0.0),
        )
        self._what[future] = f"{one.model} on {one.asked.task.name}"
        self._probes[future] = one

    def _report(self, future: Any, outcome: Outcome) -> None:
        """Say what an extraction did, once its caches are whole."""
        if future not in self._extractions:
            return
        dataset, level, reports = self._extractions[future]
        by_folder = {report.directory: report for report in reports}
        for share in outcome.reports:
            by_folder[share.directory].add(share)
        for report in reports:
            self._options.reporter.say(extraction.summary(dataset, level, report))
            for clip, reason in report.failures:
                self._options.reporter.say(f"  {clip!r}: {reason}")


def _sizes(planned: Extraction) -> dict[str, float]:
    """Return about how many bytes the cache of each model will take, by its name."""
    sizes: dict[str, float] = {}
    for cache in planned.caches:
        size = float(size_of(cache.directory)) if cache.directory.is_dir() else 0.0
        for job in planned.jobs:
            if cache in job.shards:
                alone = Job(job.clips, {cache: job.shards[cache]})
                size += alone.size(planned.seconds_of, planned.corpus.windowing)
        name = cache.extractor.name
        sizes[name] = max(size, sizes.get(name, 0.0))
    return sizes
