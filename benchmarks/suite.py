"""Read a suite: models x tasks x protocols as a TOML file, and what the leaderboard waits for.

```toml
name = "mine"
description = "One sentence."
models = ["wavlm-base-plus", "hf:./checkpoint"]
controls = ["random:wavlm-base-plus", "logmel", "mfcc"]  # models too; they come after the others
tasks = ["technique", "own.toml"]                        # paths are relative to this file
# presets, or with fields changed; or a TOML file
protocols = ["svuprobe", { base = "linear", seeds = 3 }]

[task_protocols]
technique = ["linear"]                                   # instead of `protocols`
```

Optional: ``reference`` (the paper whose models and tasks these are) and ``prepare``, which makes
the data: ``synth`` writes synthetic copies below OUT (``[synth_clips]`` says how many recordings
for a task), ``real_audio`` writes the tasks of :mod:`svuprobe.benchmarks.real_audio` from the
``manifest.csv`` in the data folder.

A table ``[pretrain]`` has models pre-trained first, on the training recordings of ``starter``:
``recipes`` (their names; they come before ``models``), ``scale`` (a factor on their steps) and
``[pretrain.changes]``, fields of all of them. The description then stands above the leaderboard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from svuprobe._errors import did_you_mean
from svuprobe._files import holds, parse_toml, write_text
from svuprobe.probe.asked_protocol import preset, with_fields
from svuprobe.probe.protocol import ProbeError, Protocol

SHIPPED = Path(__file__).with_name("suites")
PREPARE = ("", "synth", "real_audio")
_WANTED = ".suite.json"
_KEYS = {
    **dict.fromkeys(("name", "description", "reference", "prepare"), str),
    **dict.fromkeys(("models", "controls", "tasks", "protocols"), list),
    **dict.fromkeys(("task_protocols", "synth_clips", "pretrain"), dict),
}


@dataclass(frozen=True)
class Suite:
    """Name models x tasks, each task under one or more protocols; ``folder`` is where the file
    lies.
    """

    name: str
    tasks: tuple[str, ...]
    folder: Path
    description: str = ""
    reference: str = ""
    models: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = (Protocol(),)
    task_protocols: Mapping[str, tuple[Protocol, ...]] = field(default_factory=dict)
    prepare: str = ""
    synth_clips: Mapping[str, int] = field(default_factory=dict)
    pretrain: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_models(self) -> tuple[str, ...]:
        """Return models, then controls, each once."""
        return tuple(dict.fromkeys(self.models + self.controls))

    def protocols_of(self, task: str) -> tuple[Protocol, ...]:
        """Return the protocols of a task."""
        return self.task_protocols.get(task, self.protocols)


def shipped() -> list[str]:
    """Return the names of the suites that come with svuprobe."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name: str) -> Suite:
    """Read a suite by its name or from a TOML file; what is wrong with it raises ProbeError."""
    if not name.endswith(".toml") and (Path(name).suffix or Path(name).name != name):
        raise ProbeError(
            f"unknown suite {name!r}; a suite of your own is a file that ends in .toml"
        )
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        # A name never ends so, since names of suites have no dots.
        return _read(parse_toml(path.read_text(encoding="utf-8")), path)
    except OSError as error:
        if name.endswith(".toml"):
            raise ProbeError(
                f"{path}: can't be read ({error.strerror}); a suite is a TOML file"
            ) from None
        raise ProbeError(
            f"unknown suite {name!r}; {did_you_mean(name, shipped())} (or a .toml file)"
        ) from None
    except ValueError as error:
        raise ProbeError(f"{path}: not TOML: {error}") from None
    except ProbeError as error:
        raise ProbeError(f"{path}: {error}") from None


def _read(body: dict[str, Any], path: Path) -> Suite:
    for key, value in body.items():
        if key not in _KEYS:
            raise ProbeError(f"unknown key {key!r}; {did_you_mean(key, list(_KEYS))}")
        if not isinstance(value, _KEYS[key]):
            raise ProbeError(f"{key} = {value!r}; it is a {_KEYS[key].__name__}")
    for key in ("tasks", "models", "controls"):
        if odd := [one for one in body.get(key, ()) if not isinstance(one, str)]:
            raise ProbeError(f"{key} names {odd[0]!r}; it is a list of names")
    for task, clips in body.get("synth_clips", {}).items():
        # For Python true is an int, too.
        if type(clips) is not int:
            raise ProbeError(f"synth_clips.{task} = {clips!r}; it is a whole number")
    for key in ("name", "tasks"):
        if not body.get(key):
            raise ProbeError(f"the key {key!r} is missing or empty")
    # It becomes the name of a file beside the results.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", body["name"]):
        raise ProbeError(f"name = {body['name']!r}; a name has only letters, digits, - and _")
    if not (body.get("models") or body.get("controls") or body.get("pretrain")):
        raise ProbeError("it names no model; list some in models or controls")
    _check_pretrain(body.get("pretrain", {}))
    if body.get("prepare", "") not in PREPARE:
        raise ProbeError(
            f"prepare = {body['prepare']!r}; it is {' or '.join(PREPARE[1:])}, or left out"
        )
    for task in (*body.get("task_protocols", ()), *body.get("synth_clips", ())):
        if task not in body["tasks"]:
            raise ProbeError(f"{task!r} is not among its tasks ({', '.join(body['tasks'])})")
    changes: dict[str, Any] = {
        key: tuple(body[key]) for key in ("tasks", "models", "controls") if key in body
    }
    if "protocols" in body:
        changes["protocols"] = _protocols(body["protocols"], path.parent)
    changes["task_protocols"] = {
        task: _protocols(these, path.parent)
        for task, these in body.get("task_protocols", {}).items()
    }
    return Suite(**body | changes, folder=path.parent)


def _check_pretrain(table: Mapping[str, Any]) -> None:
    """Raise ProbeError where the table of models to pre-train has other keys or values."""
    kinds = {"recipes": list, "scale": float, "changes": dict}
    for key, value in table.items():
        if key not in kinds:
            raise ProbeError(f"unknown key {key!r} of pretrain; {did_you_mean(key, kinds)}")
        if not isinstance(value, kinds[key]):
            raise ProbeError(f"pretrain.{key} = {value!r}; it is a {kinds[key].__name__}")
    if table and not table.get("recipes"):
        raise ProbeError("pretrain names no recipes")
    if not 0 < table.get("scale", 1.0) <= 100:
        raise ProbeError(f"pretrain.scale = {table['scale']!r}; it is a number up to 100")


def _protocols(entries: Any, folder: Path) -> tuple[Protocol, ...]:
    if not isinstance(entries, list) or not entries:
        raise ProbeError(f"protocols = {entries!r}; it is a list of presets")
    return tuple(_protocol(entry, folder) for entry in entries)


def _protocol(entry: Any, folder: Path) -> Protocol:
    """Return a preset or a protocol's TOML file by its name, or ``{ base = ..., field = ... }``."""
    changes = dict(entry) if isinstance(entry, dict) else {"base": entry}
    base = changes.pop("base", "svuprobe")
    if not isinstance(base, str):
        raise ProbeError(f"protocol {base!r}; it is a name or a table")
    found = preset(str(folder / base) if base.endswith(".toml") else base)
    return with_fields(found, changes)


@dataclass(frozen=True)
class Wanted:
    """Name a result that a suite asks for: the leaderboard shows it as missing until it is
    there.
    """

    suite: str
    model: str
    control: bool
    task: str
    metric: str
    synthetic: bool
    protocol: str
    hash: str
    display: str = ""


def save_wanted(results: Path, suite: str, wanted: Sequence[Wanted]) -> Path:
    """Write what a suite asks for beside its results: a leaderboard is made from them alone."""
    path = results / f"{suite}{_WANTED}"
    bodies = [asdict(one) for one in wanted]
    for body in bodies:
        if not body["display"]:
            del body["display"]
    text = json.dumps(bodies, indent=1) + "\n"
    # Written only where it changes: results may lie where nothing can be written.
    if not holds(path, text):
        write_text(path, text)
    return path


def read_wanted(results: Path) -> tuple[list[Wanted], list[str]]:
    """Return what all suites run into a folder ask for, and a line for each file that doesn't
    say.
    """
    found: list[Wanted] = []
    problems = []
    for path in sorted(results.glob(f"*{_WANTED}")):
        if path.name.startswith("."):  # such as macOS leaves beside files
            continue
        try:
            found += [_one_wanted(one) for one in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError, RecursionError):
            problems.append(
                f"{path}: not what svuprobe run writes; delete it and run the suite again"
            )
    return found, problems


def _one_wanted(body: Any) -> Wanted:
    """Return one entry; TypeError or ValueError where keys or the kinds of values are others."""
    one = Wanted(**body)
    for each in fields(Wanted):
        # Annotations are text here, as the module imports annotations from the future.
        if type(getattr(one, each.name)).__name__ != each.type:
            raise ValueError(each.name)
    return one
