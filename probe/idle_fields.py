"""Refuse fields of a protocol that can't act beside its others.

Who names a field expects that it acts. A few can't, because of what other fields say: those of
stopping where MARBLE's table stands in their place, a search among one rate. The fields that a head
hasn't got at all are in `svuprobe.probe.protocol_fields.FOREIGN`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import fields

from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol
from svuprobe.probe.protocol_fields import FIRST_LOOK

_OF_MARBLE = ("max_epochs", "patience", "plateau_patience")


def require_effect(protocol: Protocol, named: Container[str]) -> None:
    """Raise ProbeError for the first of the named fields that changes nothing in a protocol."""
    for field, why in _idle(protocol, named):
        raise ProbeError(f"{field} = {getattr(protocol, field)!r} changes nothing: {why}")


def changed_fields(protocol: Protocol) -> list[str]:
    """Return the fields in which a protocol differs from the preset of its name, or the default."""
    base = PRESETS.get(protocol.name, PRESETS["svuprobe"])
    return [f.name for f in fields(base) if getattr(protocol, f.name) != getattr(base, f.name)]


def _idle(protocol: Protocol, named: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield each named field that can't act, with why and with what to do."""
    if "seeds" in named and protocol.draws != protocol.seeds:
        yield (
            "seeds",
            f"head = {protocol.head!r} is found exactly, so there is one of it; leave it out, or "
            "deal the training set anew for each seed by train_fraction or shuffle_labels",
        )
    if protocol.stopping == "marble":
        for field in _OF_MARBLE:
            if field in named:
                yield (
                    field,
                    "stopping = 'marble' takes it from MARBLE's table for each task; leave it out, "
                    'or set stopping = "own" beside it, in a TOML file with base = "marble"',
                )
    if "plateau_patience" in named and protocol.plateau_factor == 1:
        yield "plateau_patience", "plateau_factor = 1 never changes a rate; give a lower factor"
    if "dropout" in named and protocol.dropout and not protocol.hidden:
        yield "dropout", "hidden = 0 has no units to drop; leave it out, or give hidden units"
    if "own_scale" in named and not protocol.standardize:
        yield "own_scale", "standardize = false scales nothing; set standardize = true"
    yield from _of_one_value(protocol, named)
    yield from _of_halving(protocol, named)


def _of_one_value(protocol: Protocol, named: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield what chooses among the values of a grid, where there is one."""
    if protocol.head == "knn":
        if len(protocol.neighbours) == 1 and "margin" in named and protocol.margin:
            yield "margin", "neighbours has one value to choose; give several"
        return
    if len(protocol.grid) > 1:
        return
    grid = "learning_rates" if protocol.head == "network" else "strengths"
    if "widen" in named and protocol.widen:
        yield (
            "widen",
            f"{grid} has one value, which has no ratio to another to go on by; give several",
        )
    if "margin" in named and protocol.margin:
        yield "margin", f"{grid} has one value to choose; give several"


def _of_halving(protocol: Protocol, named: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield a search by halving that has nothing to stop, or no time to."""
    if protocol.search == "grid" or not any(
        name in named for name in ("search", "learning_rates", "max_epochs")
    ):
        return
    if len(protocol.learning_rates) == 1:
        yield "search", "learning_rates has one value, so none can be stopped; give several"
    elif protocol.max_epochs <= FIRST_LOOK:
        yield (
            "search",
            f"it stops no rate before epoch {FIRST_LOOK + 1}, and max_epochs = "
            f"{protocol.max_epochs}; leave one of them out",
        )
