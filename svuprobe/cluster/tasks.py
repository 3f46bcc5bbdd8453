"""Hand parts to the scheduler, and watch them until all are done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import uuid4

from svuprobe._files import clear_abandoned, temporary_for, writing
from svuprobe._run_options import RunOptions
from svuprobe.cluster import facts as of_worker
from svuprobe.cluster.addresses import ClusterError, connected
from svuprobe.cluster.checks import require_alike, require_same
from svuprobe.cluster.parts import Outcome, Site

_LOOK_S = 0.1  # between looks at what is done
_TELL_S = 1.0  # between counts of what runs
_FACTS_S = 120.0  # that workers have to load libraries and say what they are
_MARKER = ".svuprobe-cluster"  # begins the names of files that workers must see
_SHARES = 4  # of an extraction, for each worker: the last ones end at about one time


class Cluster:
    """Hold a scheduler's client, and how parts run on its workers.

    Attributes
    ----------
    device
        What models and heads compute on, on every worker: then it makes no difference to a result
        which of them did it.
    dtype
        The numbers that models run in there.
    """

    def __init__(self, client: Any, address: str, options: RunOptions) -> None:
        self.client, self.address, self.reporter = client, address, options.reporter
        self._workers: dict[str, dict[str, float]] = self._ask_scheduler(of_worker.labels)
        on_gpu = [w for w, labels in self._workers.items() if labels.get("gpu", 0) >= 1]
        self.device = options.device or ("cuda" if on_gpu else "cpu")
        if self.device == "cuda" and not on_gpu:
            raise ClusterError(
                f"{address}: no worker has the label gpu; start one where there is a GPU with "
                f'dask worker {address} --nthreads 1 --resources "gpu=1"'
            )
        # Who computes: a worker without the label only joins caches.
        self._computing = on_gpu if self.device == "cuda" else list(self._workers)
        self.dtype = ""
        self.site = Site("", {}, {})

    def check(self, written: Sequence[Path], read: Sequence[Path], options: RunOptions) -> None:
        """Find out whether every worker will do, and in which numbers they compute.

        All have to see the folders that are written, and those that are read.

        Raises ClusterError where one has other versions, does not see them or has no GPU.
        """
        with _marked(written) as files:
            files |= {os.path.abspath(folder): "" for folder in (Path(), *read)}
            here = of_worker.facts({})["versions"]
            workers = self._facts(files)
            for worker in workers.values():
                require_same(worker, here)
            require_alike({a: workers[a] for a in self._computing}, self.device)
        self.dtype = workers[self._computing[0]]["dtype"][self.device]
        how = {
            "device": self.device,
            "jobs": options.jobs,
            "decode_timeout_s": options.decode_timeout_s,
            "allow_missing": options.allow_missing,
            "overwrite": True,  # what is there was looked at, and is of something else
        }
        self.site = Site(os.getcwd(), here, how)
        hosts = len({worker["host"] for worker in workers.values()})
        self.reporter.say(
            f"cluster {self.address}: {len(self._computing)} of {len(workers)} workers compute, on "
            f"{self.device}, on {hosts} machine{'s' if hosts > 1 else ''}"
        )

    def _ask_scheduler(self, function: Callable[..., Any]) -> Any:
        with _by_value():
            return self.client.run_on_scheduler(function)

    def _facts(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return what each worker says of itself, by its address."""
        with _by_value():
            asked = {}
            for address in self._workers:
                asked[address] = self.client.submit(
                    of_worker.facts, dict(files), workers=[address], pure=False
                )
        end = time.monotonic() + _FACTS_S
        found = {}
        for address, future in asked.items():
            try:
                found[address] = future.result(timeout=max(1.0, end - time.monotonic()))
            except TimeoutError:
                raise ClusterError(
                    f"{self.address}: worker {address} has not said for {_FACTS_S:g} s what it is; "
                    "it may be at another's work, or its log says why"
                ) from None
        return found

    @property
    def shares(self) -> int:
        """Return into how many shares an extraction is dealt."""
        return _SHARES * len(self._computing)

    def planning(self, options: RunOptions) -> RunOptions:
        """Return options with which this process plans what the workers do."""
        return replace(options, cluster=None, device="cpu", dtype=self.dtype)

    def submit(
        self, name: str, part: Callable[..., Outcome], *arguments: Any, memory: float = 0.0
    ) -> Any:
        """Hand a part to the scheduler; futures among the arguments are what it waits for.

        Parameters
        ----------
        name
            Stands before the task's key, on Dask's dashboard.
        memory
            Bytes that it needs: a label of workers that were started with one. Where it is more
            than any of them has, it runs alone on the largest.
        """
        resources = self._computes(memory) if memory else {}
        return self.client.submit(
            part, self.site, *arguments, resources=resources or None, key=_key(name), pure=False
        )

    def _computes(self, memory: float) -> dict[str, float]:
        """Return the labels that a part asks for which computes."""
        resources = {"gpu": 1.0} if self.device == "cuda" else {}
        able = [w for w in self._workers.values() if w.get("gpu", 0.0) >= resources.get("gpu", 0.0)]
        most = max((labels.get("memory", 0.0) for labels in able), default=0.0)
        if most:
            resources["memory"] = min(memory, most)
        return resources

    def outcomes(self, futures: Mapping[Any, str]) -> Iterator[tuple[Any, Outcome | str]]:
        """Yield each future as it is done, with its outcome, or why there is none.

        Says what the parts said, and shows a bar of them. ``futures`` says what each is.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        left = dict(futures)
        looked = 0.0
        with self.reporter.bar(len(left), "parts", " parts") as bar:
            while left:
                if any(future.status in ("cancelled", "lost") for future in left):
                    raise ClusterError(
                        f"{self.address}: the scheduler is gone; what is finished is kept: start "
                        "it again, then the same command goes on from there"
                    )
                done = [future for future in left if future.status in ("finished", "error")]
                for future in done:
                    outcome = self._outcome_of(future, left.pop(future))
                    if isinstance(outcome, Outcome):
                        for line in outcome.lines:
                            self.reporter.say(line)
                    yield future, outcome
                bar.update(len(done))
                if time.monotonic() - looked > _TELL_S:
                    looked = time.monotonic()
                    bar.set_postfix(running=self._running(), left=len(left))
                if not done:
                    time.sleep(_LOOK_S)

    def _running(self) -> int:
        """Return how many parts run now; say which workers are gone or new since it was asked."""
        try:
            running: dict[str, int] = self._ask_scheduler(of_worker.running)
        except OSError:  # it is gone, or comes back: the futures say which
            return 0
        gone, new = set(self._workers) - set(running), set(running) - set(self._workers)
        for address in sorted(gone):
            self.reporter.say(f"worker {address} is gone; what it had in hand is begun again")
        if gone or new:
            self._workers = self._ask_scheduler(of_worker.labels)
        return sum(running.values())

    def _outcome_of(self, future: Any, what: str) -> Outcome | str:
        """Return what a part returned, or why no worker survives it.

        What else a worker raised is raised: a bug, or that it is none of this environment, as one
        that came later may be.
        """
        if future.status == "finished":
            outcome: Outcome = future.result()
            return outcome
        error = future.exception()
        if type(error).__name__ == "KilledWorker":
            return (
                f"{what}: {error.allowed_failures + 1} workers died of it, the last one at "
                f"{error.last_worker.address}; its log may say why, as too little memory"
            )
        raise error


@contextmanager
def on_cluster(
    written: Sequence[Path], read: Sequence[Path], options: RunOptions
) -> Iterator[Cluster]:
    """Give the cluster that ``options.cluster`` names, once all its workers see some folders.

    Raises ClusterError as `Cluster.check` and `svuprobe.cluster.addresses.connected` do.
    """
    assert options.cluster is not None
    with connected(options.cluster) as client:
        cluster = Cluster(client, options.cluster, options)
        cluster.check(written, read, options)
        yield cluster


@contextmanager
def _by_value() -> Iterator[None]:
    """Send functions of `facts` by value: a worker that lacks svuprobe, or has an older one,
    answers too.
    """
    from cloudpickle import register_pickle_by_value, unregister_pickle_by_value

    register_pickle_by_value(of_worker)
    try:
        yield
    finally:
        unregister_pickle_by_value(of_worker)


@contextmanager
def _marked(folders: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Give files that workers must see, and what these hold, or that a folder is there."""
    with ExitStack() as stack:
        files = {}
        for folder in dict.fromkeys(folders):
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                clear_abandoned(folder / _MARKER)
                prefix = f"{temporary_for(folder / _MARKER).name}-"
                marker = stack.enter_context(NamedTemporaryFile("w", dir=folder, prefix=prefix))
            marker.write(uuid4().hex)
            marker.flush()
            files[os.path.abspath(marker.name)] = Path(marker.name).read_text(encoding="utf-8")
        yield files


def _key(name: str) -> str:
    return f"{name}-{uuid4().hex}"
