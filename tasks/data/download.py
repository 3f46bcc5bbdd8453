"""Download so that a transfer goes on where it broke off."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from svuprobe._files import write_text, writing
from svuprobe._progress import SILENT, Reporter
from svuprobe.tasks.types import TaskError

BLOCK = 1 << 16  # what of a broken block has come is lost


class _Again(Exception):
    """Report that a transfer broke off in a way that another attempt may mend."""


class ResumingDownloader:
    """Download for pooch, going on where an earlier attempt broke off, of this or another process.

    What has arrived is kept in ``part`` with the server's name of the version beside it (``.tag``),
    so the two halves of a file are never of different versions. It is moved to pooch's own file
    when its size is the one that the server said.

    Parameters
    ----------
    part
        Where to keep what has arrived.
    reporter
        Shows a bar of the bytes.
    attempts
        Give up after so many in a row that brought nothing.
    """

    def __init__(
        self,
        part: Path,
        reporter: Reporter = SILENT,
        *,
        attempts: int = 5,
        wait_s: float = 1.0,
        timeout_s: float = 60.0,
    ) -> None:
        self.part, self.tag = part, part.with_name(f"{part.name}.tag")
        self.reporter, self.attempts, self.wait_s, self.timeout_s = (
            reporter,
            attempts,
            wait_s,
            timeout_s,
        )

    def __call__(self, url: str, output_file: str, pooch: Any = None) -> None:
        with writing(self.part):  # what has come is kept, and the same command goes on from there
            self._bring(url)
            os.replace(self.part, output_file)
            self.tag.unlink(missing_ok=True)

    def _bring(self, url: str) -> None:
        """Transfer until it is whole."""
        import requests

        failures = 0
        while True:
            before = size(self.part)
            try:
                self._transfer(url)
                break
            except (_Again, requests.RequestException) as error:
                # An attempt that brought something counts as the first.
                failures = 0 if size(self.part) > before else failures + 1
                if failures >= self.attempts:
                    raise TaskError(
                        f"{url}: {error}; {size(self.part):,} bytes are kept, the same command "
                        "goes on from there"
                    ) from None
                time.sleep(self.wait_s * failures)

    def _transfer(self, url: str) -> None:
        """Ask once, for what is missing."""
        import requests

        have = size(self.part)
        # A server that compresses on the way would count other bytes than those that lie here.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.tag.is_file():
                # With the version's name, a server sends all of a file that has changed since.
                headers["If-Range"] = self.tag.read_text(encoding="utf-8")
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout_s) as answer:
            have, total = self._agree(url, answer, have)
            if answer.status_code != 416:
                self._receive(answer, have, total)
        if total is not None and size(self.part) != total:
            raise _Again(f"{size(self.part):,} of {total:,} bytes arrived")

    def _agree(self, url: str, answer: Any, have: int) -> tuple[int, int | None]:
        """Return where the answer begins and how long the whole file is; refuse what is no
        answer.
        """
        span, _, whole = (
            answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        )
        if answer.status_code == 416:  # nothing follows: it is whole, or not of this version
            if whole == str(have):
                return have, have
            self.part.unlink(missing_ok=True)
            raise _Again("the server can't go on from there; starting over")
        # Too many requests, or a server in trouble: later is another time.
        if answer.status_code == 429 or answer.status_code >= 500:
            raise _Again(f"HTTP {answer.status_code} {answer.reason}")
        if not answer.ok:
            raise TaskError(
                f"{url}: HTTP {answer.status_code} {answer.reason}; has it moved? see the homepage"
            )
        if answer.status_code == 206:
            if span.partition("-")[0] != str(have):
                self.part.unlink(missing_ok=True)
                raise _Again("the server sent another part than asked for; starting over")
            return have, int(whole) if whole.isdigit() else None
        # The server ignored the range: all of it comes from the beginning.
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None

    def _receive(self, answer: Any, have: int, total: int | None) -> None:
        missing = (total or 0) - have
        if missing > shutil.disk_usage(self.part.parent).free:
            raise TaskError(
                f"{self.part.parent}: {missing / 1e9:,.1f} GB to download, and less is free on "
                "this disk"
            )
        if not have:  # before the tag of another version takes its place
            self.part.unlink(missing_ok=True)
        tag = answer.headers.get("ETag", "")
        # A weak tag says that two versions mean the same, not that their bytes are.
        if not tag or tag.startswith("W/"):
            tag = answer.headers.get("Last-Modified", "")
        if tag:
            write_text(self.tag, tag)
        else:
            self.tag.unlink(missing_ok=True)
        bar = self.reporter.bar(total, self.part.stem, "B", initial=have, scaled=True)
        with self.part.open("ab") as file, bar:
            for block in answer.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))


def size(path: Path) -> int:
    """Return the bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0
