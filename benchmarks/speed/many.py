"""Processor seconds of what is done for every clip and every result: does twice as much take twice
as long?

    python -m svuprobe.benchmarks.speed.many [25000 50000 100000] [--results 1250 2500 5000]

Clips at frame level, eight to a shard, of a made-up model with one feature:

``plan``
    plan their shards: the length of every file, the split, the plan on disk;
``claim``
    claim and let go of every shard, as an extraction does before it writes one;
``again``
    plan once more, where every shard is there: what ``svuprobe extract`` does that has nothing to
    do;
``join``
    join the shards;
``list``
    say what there is, as ``svuprobe cache list``;
``prune``
    look for what dead processes left, as ``svuprobe cache prune``.

Results of five tasks with predictions:

``read``
    read them all;
``leaderboard``
    as ``svuprobe leaderboard``.

Behind each, in brackets, how many times that of the number before.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

import svuprobe
from svuprobe._run_options import RunOptions
from svuprobe.benchmarks.speed.leaderboard import TASKS, write as write_results
from svuprobe.extractors.audio import Decoders
from svuprobe.extractors.base import Extractor
from svuprobe.extractors.cache import Row, ShardWriter, cache_info, join, prune, shards
from svuprobe.extractors.extract import Extraction, plan_extraction
from svuprobe.extractors.jobs import Corpus
from svuprobe.probe.results import result_file
from svuprobe.tasks.types import Clip, Windowing

CLIPS, RESULTS = [25_000, 50_000, 100_000], [1250, 2500, 5000]
OPTIONS = RunOptions(device="cpu", jobs=0)


class OneFeature:
    """Stand for a model in a plan: nothing is run."""

    name, revision, digest, normalization, parameters = "logmel", "v1", "0", "none", 0
    sample_rate, hop, receptive_field, layer_names, dim = 16000, 1600, 1600, ("only",), 1


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor time that something takes in a process that has read no shard yet."""
    shards._read.clear()
    started = time.process_time()
    work()
    return time.process_time() - started


def clips_of(folder: Path, n: int) -> list[Clip]:
    """Return clips of one second, each with an id of its own and all of one file."""
    path = folder / "one.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    return [Clip(f"clip{i:06d}", str(path), "train", "x", f"group{i % 100}") for i in range(n)]


def plan(clips: Sequence[Clip], features: Path) -> Extraction:
    """Plan what a cache of the clips lacks."""
    corpus = Corpus("many", Windowing(), "frame", clips)
    model: Extractor = OneFeature()  # type: ignore[assignment]
    with Decoders(0) as decoders:
        return plan_extraction([model], corpus, features, OPTIONS, decoders)


def claim_all(extraction: Extraction) -> None:
    """Claim every shard, and let it go."""
    for job in extraction.jobs:
        if not job.claim():
            raise RuntimeError("nobody else is here")
        job.release()


def write_shards(extraction: Extraction) -> None:
    """Write every shard, with ten frames of each clip."""
    identity = f"{'0' * 16} 0.0-None"
    for job in extraction.jobs:
        for cache, path in job.shards.items():
            with ShardWriter(path, cache.header) as writer:
                rows = [Row(clip_id, 0, 0.0, 10, identity) for clip_id in job.clips]
                writer.append(np.zeros((10 * len(rows), 1, 1), np.float16), rows)
                writer.commit({})


def of_clips(n: int) -> dict[str, float]:
    """Measure with so many clips."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = clips_of(folder, n)
        planned: list[Extraction] = []
        times = {"plan": seconds_of(lambda: planned.append(plan(clips, folder / "f")))}
        times["claim"] = seconds_of(lambda: claim_all(planned[0]))
        write_shards(planned[0])
        cache = planned[0].caches[0].directory
        times["join"] = seconds_of(lambda: join(cache))
        # The file is another than the one whose clips were written: then it would be refused.
        (folder / "one.wav").unlink()
        times["again"] = seconds_of(lambda: planned.append(plan(clips, folder / "f")))
        if planned[1].jobs:
            raise RuntimeError("something is left to do")
        times["list"] = seconds_of(lambda: cache_info(cache))
        times["prune"] = seconds_of(lambda: prune(folder / "f"))
        return times


def of_results(n: int) -> dict[str, float]:
    """Measure with so many results."""
    with tempfile.TemporaryDirectory() as name:
        results = Path(name) / "results"
        write_results(results, n // TASKS)
        times = {"read": seconds_of(lambda: result_file.read_all(results))}
        times["leaderboard"] = seconds_of(
            lambda: svuprobe.leaderboard(results, Path(name) / "leaderboard.md")
        )
        shutil.rmtree(results)
        return times


def tell(what: str, numbers: Sequence[int], measure: Callable[[int], dict[str, float]]) -> None:
    """Print a line for each number."""
    before: dict[str, float] = {}
    for n in numbers:
        times = measure(n)
        cells = []
        for name, seconds in times.items():
            ratio = f" ({seconds / before[name]:.1f})" if before else ""
            cells.append(f"{name} {seconds:.1f} s{ratio}")
        print(f"{n:>7,} {what}: {', '.join(cells)}", flush=True)
        before = times


def main(words: list[str]) -> None:
    """Measure clips, then results, in the numbers that were asked for."""
    at = words.index("--results") if "--results" in words else len(words)
    clips, results = words[:at], words[at + 1 :]
    tell("clips", [int(word) for word in clips] or CLIPS, of_clips)
    tell("results", [int(word) for word in results] or RESULTS, of_results)


if __name__ == "__main__":
    main(sys.argv[1:])
