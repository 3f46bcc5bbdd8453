"""Seconds that features in an object store take, beside those in a folder.

    python -m svuprobe.benchmarks.speed.stores [--address s3://bucket/folder] [--repeat 3]

Without an address the store is moto's server of S3, in a process of its own on this machine: it has
no network between, and answers slowly. Each line is the least of the repetitions:

``extract``
    a model of a task, from nothing;
``again``
    the same command, which finds all done;
``probe, nothing here``
    with an empty local copy: all is fetched;
``probe, all here``
    with a local copy that holds it all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import click

import svuprobe

TASK, MODEL = "starter-digits", "svuprobe-small"
PROTOCOL = svuprobe.Protocol(seeds=1, max_epochs=2)
OPTIONS = svuprobe.RunOptions(device="cpu", jobs=0)
_SERVE = (
    "import logging, sys, time\n"
    "from moto.server import ThreadedMotoServer\n"
    "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
    "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n"
    "server.start()\n"
    "print(server.get_host_and_port()[1], flush=True)\n"
    "sys.stdin.read()\n"
)


@contextmanager
def local_s3() -> Iterator[str]:
    """Give the address of a bucket in a server on this machine."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        bucket = urllib.request.Request(f"{endpoint}/bucket", method="PUT")
        urllib.request.urlopen(bucket).close()
        yield "s3://bucket"
    finally:
        server.stdin.close()
        server.wait()


def measure(features: str, top: Path) -> dict[str, float]:
    """Return the seconds of each step, with features that are not there yet."""

    def extract() -> None:
        svuprobe.extract(TASK, MODEL, data="data", features=features, options=OPTIONS)

    def probe() -> None:
        results = top / uuid4().hex
        svuprobe.probe(
            TASK, MODEL, features=features, results=results, protocol=PROTOCOL, options=OPTIONS
        )

    seconds = {"extract": _timed(extract), "again": _timed(extract)}
    os.environ["SVUPROBE_STORE_CACHE"] = str(top / uuid4().hex)
    return seconds | {"probe, nothing here": _timed(probe), "probe, all here": _timed(probe)}


def _timed(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


@click.command(help=__doc__)
@click.option("--address", help="A folder in a store, in which another one is made.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
def main(address: str | None, repeat: int) -> None:
    """Measure a folder and a store in turn."""
    rows: dict[str, dict[str, list[float]]] = {"folder": {}, "store": {}}
    with tempfile.TemporaryDirectory() as name, _given(address) as store:
        top = Path(name)
        os.environ["SVUPROBE_STORE_CACHE"] = str(top / "copy")
        # What is read once in a process, libraries and weights, counts for neither.
        measure(str(top / "first"), top)
        for number in range(repeat):
            places = {
                "folder": str(top / f"folder{number}"),
                "store": f"{store}/speed-{uuid4().hex[:8]}",
            }
            for place, features in places.items():
                for step, seconds in measure(features, top).items():
                    rows[place].setdefault(step, []).append(seconds)
    for step in rows["folder"]:
        folder, store_s = (min(rows[place][step]) for place in ("folder", "store"))
        click.echo(f"{step:20} folder {folder:6.2f} s   store {store_s:6.2f} s")


@contextmanager
def _given(address: str | None) -> Iterator[str]:
    if address is not None:
        yield address
    else:
        with local_s3() as local:
            yield local


if __name__ == "__main__":
    main()
