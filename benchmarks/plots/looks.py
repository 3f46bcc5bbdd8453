"""Say how each model is called and looks, the same in every picture of a folder of results.

A model has its own colour, and where colours come round again its own mark and line beside it.
Controls are grey, hollow and dashed: nobody takes one for a model. Colours are told apart with any
colour vision, marks and lines also in grey.

References
----------
Okabe & Ito, "Color Universal Design" (2008): the colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from svuprobe._text import picture
from svuprobe.probe.results.naming import shown_name
from svuprobe.probe.results.result import Result

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREYS = ("0.3", "0.55")
MARKERS = "osD^vPX*<>h"
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":")
# None of them is the dotted line of chance.
_GREY_DASHES: tuple[Any, ...] = ((0, (6, 3)), (0, (6, 2, 1, 2)), (0, (3, 3)), (0, (9, 2)))
# Characters of a name in a picture, and of one that is told apart by nothing less.
_LONGEST, _LONGEST_WHOLE = 44, 400
Key = tuple[bool, str, str]


@dataclass(frozen=True)
class Look:
    """Hold how one model is drawn.

    Attributes
    ----------
    name
        In the picture: told apart from those of all others, and no longer than it has to be.
    face
        Colour inside of its mark: white of a control.
    """

    name: str
    colour: str
    marker: str
    dash: Any
    face: str
    control: bool

    @property
    def mark(self) -> dict[str, Any]:
        """Return how a mark looks."""
        return {"color": self.colour, "marker": self.marker, "mfc": self.face}

    @property
    def line(self) -> dict[str, Any]:
        """Return how a line looks."""
        return {"color": self.colour, "ls": self.dash}


class Looks:
    """Give each model of some results its name and look.

    Parameters
    ----------
    results
        That are drawn: their names are told apart.
    everyone
        All that the folder holds, by which looks are dealt: so a model looks the same in each
        picture, whatever is chosen beside it. The drawn ones, if there are no others.
    """

    def __init__(self, results: Iterable[Result], everyone: Iterable[Result] = ()) -> None:
        drawn = {_key(result): result for result in results}
        # By their own names: what they are called in a picture changes no colour.
        ordered = sorted({*map(_key, everyone), *drawn})
        place = Counter[bool]()
        names = dict(zip(drawn, _names(list(drawn.values())), strict=True))
        self._looks: dict[Key, Look] = {}
        for key in ordered:
            control = key[0]
            if key in names:
                self._looks[key] = _look(names[key], place[control], control)
            place[control] += 1

    def of(self, result: Result) -> Look:
        """Return the look of the model of a result."""
        return self._looks[_key(result)]

    def name(self, result: Result) -> str:
        """Return the name of the model of a result."""
        return self.of(result).name


def _key(result: Result) -> Key:
    """Return what tells models apart, models before controls."""
    return result.model.control, result.model.name, result.model.revision


def _look(name: str, n: int, control: bool) -> Look:
    """Return the n-th look of models or of controls."""
    # Colours, dashes and marks go round at different lengths, so that all together hardly ever do.
    if control:
        colour = GREYS[n % len(GREYS)]
        dash = _GREY_DASHES[n % len(_GREY_DASHES)]
        return Look(name, colour, MARKERS[n % len(MARKERS)], dash, "white", True)
    colour = COLOURS[n % len(COLOURS)]
    dash = DASHES[n // len(COLOURS) % len(DASHES)]
    return Look(name, colour, MARKERS[n % len(MARKERS)], dash, colour, False)


def _names(results: Sequence[Result]) -> list[str]:
    """Return names that are told apart: each in the shortest form that no other model has, too."""
    forms: list[tuple[str, ...]] = []
    for result in results:
        control = " (control)" * result.model.control
        revised = f"{shown_name(result)}@{result.model.revision[:8]}"
        forms.append(
            (
                picture(shown_name(result), _LONGEST) + control,
                picture(revised, _LONGEST) + control,
                # Where only what is cut out of the middle differs, all of it is shown.
                picture(revised, _LONGEST_WHOLE) + control,
            )
        )
    names = [each[0] for each in forms]
    for number in (1, 2):
        taken = Counter(names)
        for n, each in enumerate(forms):
            if taken[names[n]] > 1:
                names[n] = each[number]
    # The same weights in two folders; these are of one machine, and stand in no picture.
    taken, counted = Counter(names), Counter[str]()
    for n, name in enumerate(names):
        counted[name] += 1
        if taken[name] > 1:
            names[n] = f"{name} ({counted[name]})"
    return names
