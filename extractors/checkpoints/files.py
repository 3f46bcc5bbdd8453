"""Tell what a file of a checkpoint really is: JSON, or something that stands in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from svuprobe.extractors.base import ExtractError


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    ExtractError
        It can't be read, or holds something else.
    """
    if (instead := placeholder(path, name)) is not None:
        raise ExtractError(f"{name}: can't read {path.name}: {instead}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExtractError(
            f"{name}: can't read {path.name}: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, dict):
        raise ExtractError(f"{name}: {path.name} must hold a JSON object")
    return content


def placeholder(path: Path, name: str) -> str | None:
    """Say what stands in a file's place (nothing, a pointer, a web page); None if it may be the
    file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ExtractError(f"{name}: can't read {path.name}: {error.strerror}") from None
    if not start:
        return "it is empty; download it again"
    # A clone without Git LFS leaves such a text of three lines.
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "it is a pointer of Git LFS in place of the file; run git lfs pull in the repository"
    if start.startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/")):
        return f"it is a pointer of git-annex in place of the file; run git annex get {path.name}"
    # A proxy or a portal answers a download with a page.
    if (
        start.lstrip(b"\xef\xbb\xbf \t\r\n")
        .lower()
        .startswith((b"<!doctype", b"<html", b"<?xml", b"<error"))
    ):
        return "it is a web page in place of the file; download it again"
    return None
