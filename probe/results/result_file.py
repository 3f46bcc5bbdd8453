"""Write and read the files of a result: JSON, and beside it predictions and heads.

``RESULTS/<model>@<revision8>/<task>[.synthetic]/<protocol>.json``, with ``<protocol>.npz``:
everything that a table, a plot or a test of significance needs; and ``<protocol>.safetensors``, the
heads (`svuprobe.probe.trained`). They appear together or not at all: the JSON comes last, goes
first when it is replaced, and knows the checksums of the others. `svuprobe.probe.results.result`
says what each key of the JSON holds.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from svuprobe import _files
from svuprobe._errors import UserError
from svuprobe._files import clear_abandoned, refuse_special, sha256_of, sync, temporary_for, writing
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results.result import SCHEMA, Result
from svuprobe.probe.results.result_json import ShapeError, from_json, to_json

Write = Callable[[Path], object]
Entry = tuple[Result, Path]
# Of results below a folder: that of a task, of a model, of results, and of a suite's run.
_DEPTHS = ("", "*/", "*/*/", "results/*/*/")


# -- writing ---------------------------------------------------------------------------------------


def save(
    result: Result, path: Path, predictions: dict[str, np.ndarray], heads: Write | None = None
) -> Result:
    """Write a result with what belongs to it: a reader finds all of it, of one run, or none.

    Everything is whole and durable under temporary names first. Then the old JSON goes, the others
    take their places, and the JSON comes last.

    Parameters
    ----------
    heads
        Writes the trained heads to the path it is given; None where they are kept elsewhere.

    Returns
    -------
    The result as it was written, with ``files``; without a display name of its own it has that of
    the result that it replaces.

    Raises
    ------
    FileError
        The system refuses to write; what was there before is there still.
    """
    if result.model.display is None:
        result = replace(result, model=replace(result.model, display=display_at(path)))
    writers: dict[str, Write] = {".npz": lambda where: _write_predictions(where, predictions)}
    if heads is not None:
        writers[".safetensors"] = heads
    with writing(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        places = {suffix: path.with_suffix(suffix) for suffix in (*writers, ".json")}
        temporary = {}
        for suffix, place in places.items():
            refuse_special(place)
            clear_abandoned(place)
            temporary[suffix] = temporary_for(place)
            stack.callback(temporary[suffix].unlink, missing_ok=True)
        for suffix, write in writers.items():
            write(temporary[suffix])
            sync(temporary[suffix])
        checksums = {suffix: sha256_of(temporary[suffix]) for suffix in writers}
        result = replace(result, files=result.files | checksums)
        text = json.dumps(to_json(result), indent=1) + "\n"
        # What could not be read again is a bug, found before the old one goes.
        from_json(json.loads(text))
        temporary[".json"].write_text(text, encoding="utf-8")
        sync(temporary[".json"])
        # From here until the new JSON has its name there is no result, never a mixed one.
        path.unlink(missing_ok=True)
        for suffix in (*writers, ".json"):
            os.replace(temporary[suffix], places[suffix])
        sync(path.parent)
    return result


def display_at(path: Path) -> str | None:
    """Return the display name that a result was given; None where it has none, or can't be read."""
    try:
        return load(path).model.display if path.is_file() else None
    except ProbeError:
        return None


def rewrite(result: Result, path: Path) -> None:
    """Write the JSON of a result again, beside the files that belong to it: only words changed."""
    _files.write_text(path, json.dumps(to_json(result), indent=1) + "\n")


def sweep(path: Path) -> None:
    """Delete what killed processes left of a result: temporary files, and a lock that nobody
    holds.
    """
    for suffix in (".json", ".npz", ".safetensors"):
        _files.sweep(path.with_suffix(suffix))


def remove(path: Path) -> None:
    """Delete a result, its JSON first, and what lies beside it."""
    with writing(path):
        for suffix in (".json", ".npz", ".safetensors"):
            path.with_suffix(suffix).unlink(missing_ok=True)


def _write_predictions(where: Path, predictions: dict[str, np.ndarray]) -> None:
    with where.open("wb") as file:  # by its handle: numpy would add a suffix to a name
        np.savez_compressed(file, **predictions)  # type: ignore[arg-type]


# -- reading ---------------------------------------------------------------------------------------


def load(path: Path) -> Result:
    """Read a result.

    Raises ProbeError, naming the file and what is wrong, for one that can't be read, is of another
    schema, or has unknown, missing or misshapen keys.
    """
    _require_json(path)
    again = "delete it and run svuprobe probe again"
    try:
        body = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ProbeError(f"{path}: can't be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{path}: not JSON ({error}); {again}") from None
    if not isinstance(body, dict) or "schema" not in body:
        raise ProbeError(
            f"{path}: no result of svuprobe; name the folder that probe wrote results to (of a "
            "suite's it is OUT/results), or move this file elsewhere"
        )
    if body["schema"] != SCHEMA:
        raise ProbeError(f"{path}: not a result of schema {SCHEMA}; run svuprobe probe again")
    try:
        return from_json(body)
    except ShapeError as error:
        raise ProbeError(f"{path}: {error}; {again}") from None


def _require_json(path: Path) -> None:
    """Raise ProbeError for a folder, and for another file of a result than its JSON."""
    beside = [path.with_suffix(".json"), Path(f"{path}.json")]
    if path.is_dir():
        below = (each for depth in _DEPTHS for each in sorted(path.glob(f"{depth}*.json")))
        results = [each for each in (*beside, *below) if _is_result(each)]
        such = f", such as {results[0]}" if results else ""
        raise ProbeError(f"{path}: is a folder; name the JSON file of a result{such}")
    if path.suffix != ".json" and path.exists() and _is_result(beside[0]):
        raise ProbeError(f"{path}: name the JSON file of the result, {beside[0]}")
    if path.suffix != ".json" and path.exists():  # which is not to be deleted
        raise ProbeError(f"{path}: no result of svuprobe; name the JSON file that probe wrote")


def _is_result(path: Path) -> bool:
    """Tell by the predictions beside it whether a JSON file is a result."""
    return path.is_file() and belonging(path, ".npz").is_file()


def paths(results: Path) -> list[Path]:
    """Return the JSON files of a folder of results, sorted, without hidden ones such as macOS
    leaves.
    """
    if not results.is_dir():
        raise ProbeError(
            f"{results}: no such folder of results; run svuprobe probe, or give --results"
        )
    return sorted(path for path in results.glob("*/*/*.json") if not path.name.startswith("."))


def folder_meant(folder: Path) -> Path | None:
    """Return the folder of results that was meant by a folder without any: by that of a suite's run
    ``OUT/results``, by that of one model or of one of its tasks the one around; None for others.
    """
    if (folder / "results").is_dir():
        return folder / "results"
    for pattern, up in (("*/*.json", ".."), ("*.json", "../..")):
        if any(map(_is_result, folder.glob(pattern))):
            return Path(os.path.normpath(folder / up))
    return None


def read_all(results: Path) -> tuple[list[Entry], list[str]]:
    """Read every result under a folder with its path, in order, and a line for each that is none.

    A second result of the same model, task and protocol, as a copy that somebody kept, is none: it
    would stand in tables and tests as one more model.

    Raises ProbeError where there is no such folder. One bad file keeps no other from being read.
    """
    found: dict[tuple[Any, ...], Entry] = {}
    problems = []
    # What a copy is called is longer as a rule: "svuprobe (1).json", "old/svuprobe.json".
    for path in sorted(paths(results), key=lambda path: (len(str(path)), path)):
        try:
            result = load(path)
        except UserError as error:
            problems.append(str(error))
            continue
        protocol, model = result.protocol, result.model
        key = (*result.task.comparable, protocol.name, protocol.hash, model.name, model.revision)
        if key in found:
            problems.append(
                f"{path}: is of the same model, task and protocol as {found[key][1]}; left out: "
                "delete one of the two, or move it to a folder of its own"
            )
        else:
            found[key] = result, path
    return sorted(found.values(), key=lambda entry: entry[1]), sorted(problems)


def predictions_of(result: Result, path: Path) -> dict[str, np.ndarray]:
    """Return the predictions beside a result's JSON at ``path``, every array.

    Raises ProbeError where they are missing, damaged, or not those that were written with the JSON.
    """
    beside = belonging(path, ".npz")
    again = "make both again with svuprobe probe --overwrite"
    require_unchanged(result, path, ".npz")
    try:
        with np.load(beside, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ProbeError(f"{beside}: damaged ({error}); {again}") from None


def belonging(path: Path, suffix: str) -> Path:
    """Return the file of a key of ``files``: ``.npz`` beside the JSON, ``/seed0.safetensors`` in
    its folder.
    """
    return Path(f"{path.with_suffix('')}{suffix}")


def require_unchanged(result: Result, path: Path, suffix: str) -> None:
    """Raise ProbeError unless the file of a key of ``files`` is as it was written with the JSON."""
    beside = belonging(path, suffix)
    again = "make both again with svuprobe probe --overwrite"
    try:
        found = sha256_of(beside)
    except FileNotFoundError:
        raise ProbeError(f"{beside}: is not there beside {path.name}; {again}") from None
    except OSError as error:
        raise ProbeError(f"{beside}: can't be read ({error.strerror or error})") from None
    if found != result.files.get(suffix):
        raise ProbeError(f"{beside}: is not what was written with {path.name}; {again}")
