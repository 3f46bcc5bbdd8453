"""Ask for a sequence of symbols without times, as words or phonemes sung: what, but not when.

Heads give each frame a symbol or nothing, learn by CTC (`svuprobe.tasks.kinds.ctc`) from all ways
to spell a clip's sequence, and are decoded by best path: no language model, no beam, so that
nothing but features and head is measured. (SUPERB's phoneme recognition is the same; its speech
recognition has two layers of BLSTM below the CTC, which are not built here.)

Targets have no times, so a clip has to lie in one window; what texts and symbols are, and how
errors are counted, is said in `svuprobe.tasks.kinds.spelling`.

Metrics
-------
``symbol_error_rate`` is all edits of a split over all symbols of its references, the rate of
characters (CER) or phonemes (PER); ``symbol_accuracy``, which ranks since more is better there, is
1 less it, HTK's Acc: negative where an answer is much longer than the reference.
``word_error_rate``, of characters only, is the same over words. ``clip_accuracy`` is the share of
clips without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from svuprobe.tasks.kinds import fitting, spelling, spelt
from svuprobe.tasks.kinds.annotations import JAMS, Observation, as_label
from svuprobe.tasks.kinds.answers import ClipAnswer
from svuprobe.tasks.kinds.base import named_some
from svuprobe.tasks.kinds.frames import Answer, FrameKind
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.kinds.spelling import BLANK, alphabet_of, symbols_of, text_of
from svuprobe.tasks.sheets import NAMED_BY, read_text
from svuprobe.tasks.types import Clip, Task, TaskError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

_METRICS = ("symbol_accuracy", "symbol_error_rate", "clip_accuracy")
_OF_WORDS = "word_error_rate"


@dataclass(frozen=True)
class SymbolSequence(FrameKind):
    """Take tuples of symbols as targets; rasterised, (F, 2) int16 as `svuprobe.tasks.kinds.ctc` has
    it. Estimates are (n, 2), a time in s and the number of a symbol among the labels.

    Attributes
    ----------
    labels_
        Of the task: its alphabet, sorted.
    unit, casefold
        Of texts that are read.
    """

    labels_: tuple[str, ...] = ()
    unit: str = "character"
    casefold: bool = False

    name = "sequence"
    metrics = _METRICS
    activation_name = "P(symbol)"
    by_window = True
    has_classes = True
    may_be_empty = True
    namespaces = ("lyrics", "lyrics_bow")
    sidecars = (".txt",)
    keys = ("unit", "casefold", "alphabet")
    libraries = ("rapidfuzz",)
    wrongness = "errors per symbol, mean over seeds"

    def with_labels(self, labels: tuple[str, ...]) -> SymbolSequence:
        """Return the kind with the labels of a task."""
        return replace(self, labels_=labels)

    # -- own data ----------------------------------------------------------------------------------

    def check_keys(self, path: Path, spec: Mapping[str, Any]) -> None:
        """Raise TaskError for keys of other kinds, and for an alphabet without a symbol."""
        if "targets" in spec:
            raise TaskError(f"{path}: targets names labels or values; of symbols it is alphabet")
        super().check_keys(path, spec)
        if "alphabet" in spec and not symbols_of(spec["alphabet"], spec.get("unit", self.unit)):
            raise TaskError(f"{path}: alphabet = {spec['alphabet'][:40]!r} has no symbol in it")

    def reading(self, spec: Mapping[str, Any]) -> SymbolSequence:
        """Return the kind as the TOML's keys want texts to be read."""
        unit, casefold = spec.get("unit", self.unit), spec.get("casefold", self.casefold)
        labels = self.labels_
        if "alphabet" in spec:
            labels = alphabet_of([symbols_of(spec["alphabet"], unit, casefold)], unit)
        return replace(self, labels_=labels, unit=unit, casefold=casefold)

    def names_of(self, targets: Sequence[str], columns: Sequence[str]) -> list[str]:
        """Return the alphabet, where the TOML has one."""
        return list(self.labels_)

    def metrics_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the metrics; words are told apart in a text of characters."""
        return (*self.metrics, _OF_WORDS) if self.unit == "character" else self.metrics

    def of_cell(self, where: str, text: str) -> tuple[str, ...] | None:
        """Return the symbols of a text; None where it names a file of one, ``.txt`` or JAMS."""
        if text.lower().endswith((*self.sidecars, JAMS)):
            return None
        return self._symbols(where, text)

    def read(self, path: Path) -> tuple[str, ...]:
        """Return the symbols of a text file, of all its lines."""
        return self._symbols(str(path), read_text(path, NAMED_BY, "text"))

    def of_jams(self, path: Path, observations: Sequence[Observation]) -> tuple[str, ...]:
        """Return the symbols of an annotation of lyrics, by time."""
        in_order = sorted(observations, key=lambda each: each.time)
        return self._symbols(
            str(path), BLANK.join(as_label(each.where, each.value) for each in in_order)
        )

    def _symbols(self, where: str, text: str) -> tuple[str, ...]:
        symbols = symbols_of(text, self.unit, self.casefold)
        unknown = sorted(set(symbols) - set(self.labels_)) if self.labels_ else []
        if unknown:
            raise TaskError(
                f"{where}: {named_some(unknown)} not in the alphabet; add it there, or mend the "
                "text"
            )
        return symbols

    def cut(self, events: Sequence[Any], start: float, end: float) -> tuple[Any, ...]:
        """Return all symbols: they have no times, and are those of the part that names them."""
        return tuple(events)

    def labels_of(self, task: Task, clips: Sequence[Clip]) -> tuple[str, ...]:
        """Return the symbols of the training split; of clips in folds, those of all."""
        learnt = [clip.target for clip in clips if clip.split == "train" or clip.fold]
        # (That words are scored is what a task keeps of its unit.)
        return alphabet_of(learnt, "character" if _OF_WORDS in task.metrics else "token")

    def classes(self, target: Any) -> Sequence[str]:
        """Return the symbols that occur in a clip."""
        return tuple(sorted(set(target)))

    @property
    def events_name(self) -> str:
        """Return what a target is made of."""
        return "symbols"

    # -- targets and loss --------------------------------------------------------------------------

    def n_outputs(self, labels: Sequence[str]) -> int:
        """Return a blank and the symbols."""
        return 1 + len(labels)

    def begins(self, target: Sequence[Any]) -> list[float]:
        """Return nothing: symbols have no times."""
        return []

    def in_words(self, target: Sequence[Any]) -> str:
        """Return the text; where the alphabet is not known yet, tokens are what is longer than a
        character.
        """
        longer = any(len(symbol) > 1 for symbol in target)
        return text_of(target, self.labels_ or ((), (BLANK,))[not longer])

    def as_events(self, target: Sequence[Any]) -> np.ndarray:
        """Return the known symbols as an estimate has them, (n, 2), all at 0 s."""
        known = self._known(target)
        return np.array([(0.0, number) for number in known], dtype=float).reshape(-1, 2)

    def _known(self, target: Sequence[str]) -> list[int]:
        """Return the numbers of symbols, without those that are not among the labels."""
        places = {label: number for number, label in enumerate(self.labels_)}
        return [places[symbol] for symbol in target if symbol in places]

    def rasterise(self, target: Sequence[Any], times: np.ndarray) -> np.ndarray:
        """Return the symbols in the first frames, (F, 2) int16; those that no head can say, which
        training lacks, are left out.
        """
        from svuprobe.tasks.kinds import ctc

        return ctc.rasterise([number + 1 for number in self._known(target)], len(times))

    def window_starts(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the rows at which windows begin, (W,)."""
        from svuprobe.tasks.kinds import ctc

        return ctc.window_starts(targets)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return minus the log-likelihood of the sequences, over frames."""
        from svuprobe.tasks.kinds import ctc

        return ctc.loss(outputs, targets)

    def slope(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the gradient of the loss, by autograd: it takes a pass over all ways to spell."""
        from svuprobe.tasks.kinds import ctc

        return ctc.slope(outputs, targets)

    # -- what can be learnt ------------------------------------------------------------------------

    def too_long(self, task: Task, clips: Sequence[Clip], seconds: Mapping[str, float]) -> str:
        """Say which clips are longer than a window."""
        return fitting.too_long(task, clips, seconds)

    def unfit(self, clips: Sequence[Clip], frames: Mapping[str, int]) -> str:
        """Say that no clip has as many frames as it takes to spell it."""
        return fitting.unfit(clips, frames)

    def limits(self, split: str, clips: Sequence[Clip], frames: Mapping[str, int]) -> Iterator[str]:
        """Say how many clips have too few frames, and which symbols no head can say."""
        yield from fitting.too_short(split, clips, frames)
        yield from fitting.unknown(split, clips, self.labels_)

    # -- decoding and scores -----------------------------------------------------------------------

    def decode(self, task: Task, logits: torch.Tensor, times: np.ndarray) -> list[np.ndarray]:
        """Return the symbols (n, 2) of each head, by best path."""
        from svuprobe.tasks.kinds import ctc

        return ctc.best_path(logits, times)

    def score(self, reference: Sequence[Any], estimate: np.ndarray) -> dict[str, float]:
        """Return all metrics of one clip."""
        return self.judged(reference, estimate).scores

    def judged(self, reference: Sequence[Any], estimate: np.ndarray) -> Answer:
        """Return the symbols of one clip with what they score; a clip without symbols has a rate of
        1 for each that is said.
        """
        said: Sequence[str] = self._spelt(estimate)
        if BLANK in self.labels_:
            said = text_of(said, self.labels_)
        wrong, size = spelling.errors(tuple(reference), tuple(said)), len(reference)
        ratios = {
            "symbol_accuracy": (float(size - wrong), float(size)),
            "symbol_error_rate": (float(wrong), float(size)),
        }
        if BLANK in self.labels_:
            words = [text_of(each, self.labels_).split() for each in (reference, said)]
            ratios[_OF_WORDS] = (float(spelling.errors(*words)), float(len(words[0])))
        rates = {name: total / (size or 1) for name, (total, size) in ratios.items()}
        rates["symbol_accuracy"] = 1 - rates["symbol_error_rate"]
        return Answer(estimate, rates | {"clip_accuracy": float(wrong == 0)}, ratios)

    def _spelt(self, estimate: np.ndarray) -> list[str]:
        return [self.labels_[int(number)] for _, number in estimate.reshape(-1, 2)]

    def chance(self, task: Task, times: np.ndarray) -> np.ndarray:
        """Return the empty answer, (0, 2): every symbol is missing, a rate of errors of 1."""
        return np.zeros((0, 2))

    def kept(self, clips: Sequence[Clip]) -> dict[str, np.ndarray]:
        """Return the texts as ``reference``."""
        texts = [text_of(clip.target, self.labels_) for clip in clips]
        return {"reference": np.array(texts)}

    def answers(
        self, labels: Sequence[str], metric: str, stored: Mapping[str, np.ndarray]
    ) -> list[ClipAnswer]:
        """Return what the first seed's head spells, and how many errors a symbol all make."""
        kind = self.with_labels(tuple(labels))
        wrong = stored["score_symbol_error_rate"].mean(axis=0)
        found = []
        for n, answer in enumerate(super().answers(labels, metric, stored)):
            said = text_of(kind._spelt(answer.events), labels)
            truth = str(stored["reference"][n])
            found.append(replace(answer, truth=truth, answer=said, wrong=float(wrong[n])))
        return found

    # -- predictions -------------------------------------------------------------------------------

    def _text(self, prediction: Prediction) -> str:
        return text_of(self._spelt(prediction.events), self.labels_)

    def files(self, prediction: Prediction) -> dict[str, str | bytes]:
        """Return ``.txt``, the text in one line; ``.csv`` (time_s, symbol); and of characters
        ``.jams``, the words as lyrics.
        """
        timed = self._timed(prediction)
        files: dict[str, str | bytes] = {
            ".txt": self._text(prediction) + "\n",
            ".csv": spelt.table(timed),
        }
        if BLANK in self.labels_:
            files[JAMS] = spelt.lyrics(timed, prediction.seconds, prediction.task.name)
        return files

    def _timed(self, prediction: Prediction) -> list[tuple[float, str]]:
        """Return the symbols with their times, s."""
        times = prediction.events.reshape(-1, 2)[:, 0].tolist()
        return list(zip(times, self._spelt(prediction.events), strict=True))

    def rows(self, prediction: Prediction) -> list[dict[str, Any]]:
        """Return one row, the text."""
        return [{"text": self._text(prediction)}]

    def columns(self, task: Task) -> list[str]:
        """Return the headings: how many symbols, and the text."""
        return ["symbols", "text"]

    def cells(self, prediction: Prediction) -> list[str]:
        """Return how many symbols were found, and their text."""
        return [str(len(prediction.events)), self._text(prediction)]

    def activation(self, logits: np.ndarray) -> tuple[str, np.ndarray]:
        """Return the probability of each output, (F, C), the blank first."""
        highest = logits.max(axis=1, keepdims=True)
        powers = np.exp(logits - highest)
        return self.activation_name, powers / powers.sum(axis=1, keepdims=True)

    def draw(self, axes: Axes, prediction: Prediction, seconds: float) -> None:
        """Draw the probabilities of no symbol, faint, and of symbols, each named at its spike."""
        spelt.draw(axes, prediction, self._timed(prediction), seconds)


SEQUENCE = SymbolSequence()
