"""Find the protocol that is asked for: a preset by its name or a TOML file, with fields changed.

A protocol of your own is a TOML file with the fields that differ from a preset:

.. code-block:: toml

    base = "svuprobe"              # optional, the preset it starts from
    name = "wide"                  # optional, else the name of the file
    hidden = 1024
    learning_rates = [1e-3, 1e-2]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from svuprobe._errors import did_you_mean
from svuprobe._files import parse_toml
from svuprobe.probe.idle_fields import require_effect
from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol
from svuprobe.probe.protocol_fields import (
    FOREIGN,
    as_field,
    require_choice,
    require_own_fields,
)


def preset(name: str, **changes: Any) -> Protocol:
    """Return a preset by its name, or the protocol in a TOML file, with fields changed.

    Raises ProbeError for a name that is none, and as `with_changes` does.
    """
    return with_changes(_from_toml(Path(name)) if name.endswith(".toml") else _named(name), changes)


def with_changes(protocol: Protocol, changes: Mapping[str, Any]) -> Protocol:
    """Return a protocol with the fields changed that somebody named.

    Raises ProbeError for a field that the head hasn't got or that can't act beside the others, also
    where its value is the default: who named it expects that it acts.
    """
    head = changes.get("head", protocol.head)
    require_choice("head", head)
    require_own_fields(head, changes)
    # Of another head than the preset's: what only the preset's has, nobody asked for.
    left = FOREIGN[head] if head != protocol.head else ()
    own: dict[str, Any] = {f.name: f.default for f in fields(Protocol) if f.name in left}
    changed = replace(protocol, **{**own, **changes})
    require_effect(changed, changes)
    return changed


def with_fields(protocol: Protocol, values: Mapping[str, Any]) -> Protocol:
    """Return a protocol with the fields of a TOML table, ``{name: value}``.

    Raises ProbeError for an unknown field, a value of another type, and as `with_changes` does.
    """
    known = [f.name for f in fields(Protocol)]
    changes = {}
    for key, value in values.items():
        if key not in known:
            raise ProbeError(
                f"unknown key {key!r} of a protocol; {did_you_mean(key, ['base', *known])}"
            )
        # Fields have defaults, and these the right types.
        changes[key] = as_field(type(getattr(protocol, key)), value, f"{key} = {value!r}")
    return with_changes(protocol, changes)


def _named(name: str) -> Protocol:
    if name not in PRESETS:
        raise ProbeError(
            f"unknown protocol {name!r}; {did_you_mean(name, PRESETS)} (or a .toml file)"
        )
    return PRESETS[name]


def _from_toml(path: Path) -> Protocol:
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProbeError(
            f"{path}: {error.strerror}; name a preset ({', '.join(PRESETS)}) or a TOML file"
        ) from None
    except ValueError as error:
        raise ProbeError(f"{path}: not TOML ({error})") from None
    try:
        base = _named(str(values.pop("base", "svuprobe")))
        return with_fields(base, {"name": path.stem} | values)
    except ProbeError as error:
        raise ProbeError(f"{path}: {error}") from None
