"""Name the keys of a TOML file that describes a task on own data: what they hold and mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svuprobe._errors import did_you_mean
from svuprobe._files import parse_toml
from svuprobe.tasks import kinds
from svuprobe.tasks.kinds.spelling import UNITS
from svuprobe.tasks.own.columns import COLUMNS
from svuprobe.tasks.sheets import normal, read_text
from svuprobe.tasks.types import TaskError

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Key:
    """Say what a key of the TOML file may hold: values of some types that ``allowed`` accepts.

    ``rule`` says in words what those are, ``meaning`` what the key is for.
    """

    types: tuple[type, ...]
    allowed: Callable[[Any], bool]
    rule: str
    meaning: str = ""

    def means(self, meaning: str) -> Key:
        """Return the same key with its meaning."""
        return Key(self.types, self.allowed, self.rule, meaning)


def _range(least: float, most: float) -> Key:
    return Key(
        (int, float),
        lambda value: least <= value <= most,
        f"a number from {least:g} to {most:,.10g}",
    )


def _whole(least: int, most: int) -> Key:
    return Key(
        (int,), lambda value: least <= value <= most, f"a whole number from {least} to {most}"
    )


def _choice(*choices: str) -> Key:
    return Key((str,), lambda value: value in choices, f"one of {', '.join(choices)}")


def is_name(value: str) -> bool:
    """Tell whether a text may be the name of a task or dataset, and so of a folder."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value) is not None


def _are_names(values: list[Any]) -> bool:
    different = set()
    for value in values:
        # | separates the labels of a clip in the CSV file.
        if isinstance(value, str) and value.isprintable() and "|" not in value:
            different.add(normal(value))
    return 0 < len(values) == len(different - {""})


def _is_pattern(value: str) -> bool:
    try:
        return len(value) <= 1000 and re.compile(value).groups == 1
    except (re.error, RecursionError, OverflowError):
        return False


def _are_columns(value: dict[str, Any]) -> bool:
    for theirs in value.values():
        names = theirs if isinstance(theirs, list) else [theirs]
        if not names or not all(isinstance(name, str) and name for name in names):
            return False
    return True


_NAME = Key(
    (str,), is_name, "a name: at most 64 letters, digits, - and _, the first a letter or digit"
)
_YES = Key((bool,), lambda value: True, "true or false")
_LINE = Key(
    (str,),
    lambda value: value.isprintable() and 0 < len(value) <= 1000,
    "one line of at most 1000 characters",
)
_PATTERN = Key(
    (str,), _is_pattern, "a regular expression with one group in brackets, in single quotes"
)
_COLUMNS = Key((dict,), _are_columns, 'a table such as {target = "digit", group = "speaker"}')
# The name, and metadata or folder, are needed; the kind where the form does not say it. TOML knows
# nan, inf and whole numbers of any length.
KEYS = {
    "name": _NAME.means("of the task, in results and on leaderboards"),
    "kind": Key((str,), kinds.TABLE.__contains__, f"one of {', '.join(kinds.TABLE)}").means(
        "what is asked; a folder may say it by itself"
    ),
    "metadata": _LINE.means("the list of clips: CSV, TSV, JSON Lines, a JSON array or Parquet"),
    "folder": _LINE.means(
        "in place of metadata: a folder of class folders, of Hugging Face (metadata.csv, .jsonl or "
        ".parquet), of HEAR, or of recordings with a file of notes or beats beside each"
    ),
    "columns": _COLUMNS.means(
        "names of columns in the list, by ours; several of a target are joined, as "
        '["valence", "arousal"]'
    ),
    "dataset": _NAME.means("tasks of one dataset share features; the name if not given"),
    "window_s": _range(0.01, _DAY_S).means(
        "length of the windows that clips are cut into, seconds; 30, or 5 for notes, or what a "
        "HEAR task says; a sequence has to lie in one"
    ),
    "tail_s": _range(0.0, _DAY_S).means(
        "shortest rest of a clip that is a window, seconds; 1, or 0 for notes and beats"
    ),
    "trim": _YES.means("cut silence at both ends of a clip first; false"),
    "scored": _choice("clip", "window").means("what a score counts; clip"),
    "metric": _LINE.means("the metric that ranks models, of those that the kind has; its first"),
    "targets": Key(
        (list,), _are_names, "a list of different names in quotes, none empty or with |"
    ).means("names of a regression's values, or all labels where some may not occur"),
    "class_weight_alpha": _range(0.0, 4.0).means(
        "classes weigh 1 / count^alpha in the loss; 0, all alike"
    ),
    "group_pattern": _PATTERN.means(
        "in place of a column group: what the group in brackets matches in a clip's path is its "
        "group, as '_([a-z]+)_'"
    ),
    "disjoint_groups": _YES.means("refuse a group in two splits or folds; true"),
    "beat_decoder": _choice("dbn", "peaks").means("how beats are found in an activation; dbn"),
    "unit": _choice(*UNITS).means("what a symbol of a sequence is; character"),
    "casefold": _YES.means("drop the case of a sequence's texts; false"),
    "alphabet": _LINE.means(
        "the symbols of a sequence, as 'abc' or, of tokens, 'AA B CH'; else those of the training "
        "split"
    ),
    "namespace": _LINE.means("the namespace of JAMS files that is meant, as key_mode"),
    "split_seed": _whole(0, (1 << 32) - 1).means("of the splits or folds that are dealt out; 0"),
    "folds": _whole(2, 1000).means("deal clips out to so many folds: cross-validation"),
    "licence": _LINE.means("of the data, as leaderboards show it"),
    "reference": _LINE.means("who made the data, as leaderboards show it"),
}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file's keys. Raises TaskError naming the file and the key that is wrong."""
    text = read_text(path, "a task on your own data is a TOML file that exists", "TOML")
    try:
        spec = parse_toml(text)
    except ValueError as error:
        raise TaskError(f"{path}: not TOML: {error}") from None
    for key, value in spec.items():
        if key not in KEYS:
            # What is a column's name is meant for the table of columns.
            hint = f"[columns] {key} = ..." if key in COLUMNS else ""
            raise TaskError(
                f"{path}: unknown key {key!r}; "
                + (f"a column is named by {hint}" if hint else did_you_mean(key, KEYS))
            )
        rule = KEYS[key]
        # Python takes true for a 1; TOML does not.
        if not isinstance(value, rule.types) or (
            isinstance(value, bool) and bool not in rule.types
        ):
            raise TaskError(
                f"{path}: {key} = {_shown(value)} has the wrong type; it is {rule.rule}"
            )
        if not rule.allowed(value):
            raise TaskError(f"{path}: {key} = {_shown(value)}; it is {rule.rule}")
    for key in spec.get("columns", {}):
        if key not in COLUMNS:
            raise TaskError(f"{path}: unknown column [columns] {key}; {did_you_mean(key, COLUMNS)}")
    if "name" not in spec:
        raise TaskError(f"{path}: the key 'name' is missing")
    if "metadata" not in spec and "folder" not in spec:
        raise TaskError(f"{path}: the key 'metadata' is missing (or 'folder', in place of it)")
    if "metadata" in spec and "folder" in spec:
        raise TaskError(
            f"{path}: metadata = {_shown(spec['metadata'])} and folder = {_shown(spec['folder'])}; "
            "clips are found by one of the two"
        )
    if "kind" not in spec and "metadata" in spec:
        raise TaskError(f"{path}: the key 'kind' is missing")
    return spec


def columns_of(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the table of columns, each of ours with its names in the list."""
    chosen = {}
    for name, theirs in spec.get("columns", {}).items():
        chosen[name] = list(theirs) if isinstance(theirs, list) else [theirs]
    return chosen


def _shown(value: Any) -> str:
    """Return a value as part of one line; a whole number may be too long for Python to write."""
    try:
        text = repr(value)
    except ValueError:
        return "a very long number"
    return text if len(text) <= 80 else f"{text[:77]}..."
