"""Give each model one colour and one mark, the same in every chart and table of the page."""

from __future__ import annotations

from collections.abc import Iterable

from svuprobe.benchmarks.report.html import Html, tag
from svuprobe.probe.results.naming import shown_title
from svuprobe.probe.results.result import Result

# As many as the style sheet has: `--m0` to `--m6` of models, `--k0` and `--k1` of controls.
COLOURS, GREYS = 7, 2
SHAPES = ("dot", "square", "up", "diamond")


class Looks:
    """Know how each model looks: a colour and a shape of its own, the same on the whole page.

    Colours go round after seven models and shapes after each round, so that 28 look different;
    controls are grey and hollow, as in the plots.

    Parameters
    ----------
    results
        That are on the page.
    everyone
        All that the folder holds, by which looks are dealt: so a model looks the same on each page,
        whatever is chosen beside it.
    """

    def __init__(self, results: Iterable[Result], everyone: Iterable[Result]) -> None:
        shown = {_key(result): shown_title(result) for result in results}
        # Of models and of controls, by their own names: what they are called changes no colour.
        places = [0, 0]
        self._number: dict[str, int] = {}
        self._colour: dict[str, str] = {}
        self._mark: dict[str, str] = {}
        self._control: dict[str, bool] = {}
        for key in sorted({*map(_key, everyone), *shown}):
            control = key[0]
            place = places[control]
            places[control] += 1
            if key not in shown:
                continue
            name = shown[key]
            colours = GREYS if control else COLOURS
            self._number[name] = len(self._number)
            self._colour[name] = f"{'k' if control else 'c'}{place % colours}"
            shape = SHAPES[place // colours % len(SHAPES)]
            self._mark[name] = f"{shape}{'-hollow' if control else ''}"
            self._control[name] = control

    @property
    def names(self) -> list[str]:
        """Return the models of the page in their order: models before controls."""
        return list(self._number)

    def is_control(self, name: str) -> bool:
        """Tell whether a model is a control."""
        return self._control.get(name, False)

    def classes(self, name: str) -> str:
        """Return the classes of what belongs to a model: ``m12`` for filters, ``c4`` for its
        colour; empty for what is no model of the page.
        """
        return f"m{self._number[name]} {self._colour[name]}" if name in self._number else ""

    def mark(self, name: str) -> str:
        """Return the id of a model's mark among the symbols of the page."""
        return self._mark.get(name, SHAPES[0])

    def swatch(self, name: str) -> Html:
        """Return a model's mark before its name in a table or legend."""
        if name not in self._number:
            return Html("")
        use = tag("use", href=f"#{self.mark(name)}", x=6, y=6)
        classes = f"swatch {self._colour[name]}"
        return tag("svg", use, class_=classes, viewBox="0 0 12 12", aria_hidden="true")

    def named(self, name: str) -> Html:
        """Return a model's mark and name, and that it is a control."""
        badge = [" ", tag("span", "control", class_="badge")] if self.is_control(name) else None
        return tag(
            "span", self.swatch(name), tag("span", name, class_="name"), badge, class_="named"
        )


def _key(result: Result) -> tuple[bool, str, str]:
    """Return what tells models apart, models before controls."""
    return result.model.control, result.model.name, result.model.revision


def symbols() -> Html:
    """Return the marks, to be used by their ids; each is drawn around 0, 0."""
    paths = {
        "dot": "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0z",
        "square": "M-3.2 -3.2h6.4v6.4h-6.4z",
        "up": "M0 -4.2L4.1 3.1H-4.1z",
        "diamond": "M0 -4.5L4.5 0L0 4.5L-4.5 0z",
    }
    shapes = []
    for name, path in paths.items():
        shapes.append(tag("path", id=name, d=path, class_="full"))
        shapes.append(tag("path", id=f"{name}-hollow", d=path, class_="hollow"))
    return tag("svg", tag("defs", shapes), width=0, height=0, class_="symbols", aria_hidden="true")
