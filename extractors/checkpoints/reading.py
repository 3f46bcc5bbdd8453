"""Read the tensors in a checkpoint's files, and what lies beside them, without running code.

safetensors, or a pickle read with ``weights_only``. A pickle of training (``torch.save`` of a
dictionary) may hold its tensors under one of `_NESTS`; what else it holds is left out, but for the
families whose configuration lies there (`entries_beside_weights`).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.files import placeholder
from svuprobe.extractors.checkpoints.parts import belongs
from svuprobe.extractors.checkpoints.source import Source
from svuprobe.extractors.checkpoints.weight_files import only_pickle

# Where training scripts keep the weights inside what
# they save: Lightning, fairseq, DeepSpeed, recipes.
_NESTS = ("state_dict", "model", "module", "model_state_dict", "weights")

# What torch.compile, FSDP and activation checkpointing put into names, also in their middle.
_WRAPPERS = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def read_state(
    files: Iterable[Path], name: str, part: str | None = None
) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint's files, under the names saved, less those of wrappers.

    Parameters
    ----------
    files
        From `svuprobe.extractors.checkpoints.find_weights`.
    name
        Of the model, for messages.
    part
        From `svuprobe.extractors.checkpoints.part_of`: only weights with it in their names, unless
        there are none; the others take no memory.

    Raises
    ------
    ExtractError
        A file that is damaged, or no file of weights, or one that holds more than tensors.
    """
    state: dict[str, torch.Tensor] = {}
    paths = tuple(files)
    for path in paths:
        for saved, tensor in read_file(path, name, part).items():
            key = _WRAPPERS.sub("", saved)
            if key != saved and key in state:
                raise ExtractError(f"{name}: {path.name} holds {key} twice, once as {saved}")
            state[key] = tensor
    return state if state or part is None else read_state(paths, name)


def read_file(path: Path, name: str, part: str | None = None) -> dict[str, torch.Tensor]:
    """Read the tensors of one file, all or a part's. Raises ExtractError as `read_state` does."""
    from safetensors import safe_open

    if path.suffix != ".safetensors":
        tensors = _tensors_of(_unpickled(path, name), path, name)
        return {key: tensor for key, tensor in tensors.items() if belongs(key, part)}
    check_whole(path, name)
    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if belongs(key, part)]  # noqa: SIM118
            return {key: file.get_tensor(key) for key in keys}
    except MemoryError:
        raise
    except Exception as error:  # of whatever a damaged file makes the reader stumble over
        raise ExtractError(
            f"{name}: {path.name} is damaged ({' '.join(str(error).split()):.200}); download it "
            "again"
        ) from None


def _unpickled(path: Path, name: str, mapped: bool = False) -> Any:
    """Read what a pickle holds; its tensors may stay in the file, where torch's format is zip."""
    check_whole(path, name)
    try:
        # weights_only refuses whatever could run code.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except Exception:  # of whatever a damaged or hostile file makes the reader stumble over
        raise ExtractError(
            f"{name}: {path.name} is damaged, or holds more than tensors and is refused because it "
            "could run code; download it again, or convert it to safetensors"
        ) from None


def check_whole(path: Path, name: str) -> None:
    """Raise ExtractError for a file that ends too early, or in whose place something else lies."""
    if (damage := placeholder(path, name) or _cut_off(path)) is not None:
        raise ExtractError(f"{name}: {path.name} is damaged: {damage}")


def entries_beside_weights(source: Source) -> dict[str, Any]:
    """Return what the pickle of a checkpoint holds beside its tensors, such as a configuration.

    Nothing where the weights aren't one pickle of a dictionary. Tensors aren't read, nor is
    anything that isn't plain data.

    Raises
    ------
    ExtractError
        A file that is damaged, or one that holds more than plain data.
    """
    path = only_pickle(source)
    if path is None:
        return {}
    # Mapped, tensors stay in the file.
    content = _unpickled(path, source.name, mapped=zipfile.is_zipfile(path))
    if not isinstance(content, Mapping):
        return {}
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and not isinstance(value, torch.Tensor) and key not in _NESTS
    }


def _tensors_of(content: Any, path: Path, name: str) -> dict[str, torch.Tensor]:
    """Find the one dictionary of tensors in what a pickle holds: itself, or one of its entries."""
    if _is_state(content):
        return dict(content)
    nests = [key for key in _NESTS if isinstance(content, Mapping) and _is_state(content.get(key))]
    if len(nests) == 1:
        return dict(content[nests[0]])
    if nests:
        what = f"weights under each of {', '.join(nests)}"
    elif isinstance(content, Mapping):
        what = f"entries such as {', '.join(f'{key!r:.40}' for key in list(content)[:4])}"
    else:
        what = f"a {type(content).__name__}"
    raise ExtractError(
        f"{name}: {path.name} holds more than tensors, or holds them deeper: {what}; save one "
        "state_dict alone, with safetensors.torch.save_file(model.state_dict(), "
        "'model.safetensors')"
    )


def _is_state(content: Any) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    )


def _cut_off(path: Path) -> str | None:
    """Say where a file of weights ends too early, as one broken off in a download does; None if it
    doesn't.
    """
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"  # what torch saves since 1.6
        return (
            "it ends too early; download it again"
            if zipped and not zipfile.is_zipfile(path)
            else None
        )
    with path.open("rb") as file:
        # The format: 8 bytes of length, a JSON header of so many, then the tensors.
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return "its header isn't whole; download it again"
        try:
            described = json.loads(file.read(length))
            ends = [
                entry["data_offsets"][1]
                for key, entry in described.items()
                if key != "__metadata__"
            ]
            needed = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return None  # safetensors says what is wrong with it
    return (
        f"it ends after {size:,} of {needed:,} bytes; download it again" if size < needed else None
    )
