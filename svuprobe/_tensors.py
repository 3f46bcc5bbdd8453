"""Keep tensors in files with what they are of: safetensors whose metadata have one key, ``about``.

Probed heads, fine-tuned networks and pre-trained models with their checkpoints are such files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from svuprobe._errors import FileError
from svuprobe._files import replacing


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write a file in one step: whoever reads it meanwhile finds the old one, whole."""
    with replacing(path) as temporary:
        write_tensors(temporary, tensors, about)


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]
) -> None:
    """Write a safetensors file. Raises OSError where the system refuses."""
    from safetensors.torch import save_file

    # One key: safetensors writes several in an order that differs from run to run.
    metadata = {"about": json.dumps(about, sort_keys=True)}
    with saving(path):
        save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Let safetensors write a file as Python would: what the system refuses is an OSError, and who
    may read it is what the umask says, where safetensors lets nobody but the owner.
    """
    from safetensors import SafetensorError

    path.touch()
    mode = path.stat().st_mode
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
    path.chmod(mode)


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of a file and what they are of.

    Raises FileError with the ``remedy`` for a file that can't be read or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["about"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, remedy) from None


def read_about(path: Path, remedy: str) -> dict[str, Any]:
    """Return what the tensors of a file are of, without them; errors are those of
    `read_tensors`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads(file.metadata()["about"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error, remedy) from None


def damaged(path: Path, error: Exception, remedy: str) -> FileError:
    """Return the error for a file that holds something else than it should."""
    return FileError(f"{path}: damaged ({error}); {remedy}")
