"""Use trained heads on new audio, and write files of what they say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np

from svuprobe._machine import check_whole
from svuprobe._run_options import RunOptions
from svuprobe.api.arguments import local_path, model_name
from svuprobe.api.audio_files import AudioFile, audio_files
from svuprobe.probe.predict import draw, formats
from svuprobe.probe.predict.predict import load_predictor, predict as predict_files, predict_samples
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks.kinds.prediction import Prediction

_LONGEST_STEM = 120  # of a written file: suffixes and numbers come after it


@overload
def predict(
    result: str | Path,
    audio: np.ndarray,
    sr: float,
    *,
    seed: int = 0,
    run_code: bool = False,
    model: str | Path | None = None,
    options: RunOptions | None = None,
) -> Prediction: ...


@overload
def predict(
    result: str | Path,
    audio: str | Path | Sequence[str | Path],
    sr: None = None,
    *,
    seed: int = 0,
    run_code: bool = False,
    model: str | Path | None = None,
    options: RunOptions | None = None,
) -> Iterator[Prediction]: ...


def predict(
    result: str | Path,
    audio: np.ndarray | str | Path | Sequence[str | Path],
    sr: float | None = None,
    *,
    seed: int = 0,
    run_code: bool = False,
    model: str | Path | None = None,
    options: RunOptions | None = None,
) -> Prediction | Iterator[Prediction]:
    """Use the heads of a result on audio: labels with probabilities, notes or beats.

    Parameters
    ----------
    result
        A result's JSON file, with its heads beside it.
    audio
        One recording, (samples,) or (channels, samples), floating point, full scale is 1; or files
        of any length, folders of them, or patterns such as ``songs/*.wav``.
    sr
        Sampling rate of the array, Hz; None for files.
    seed
        Whose head answers.
    run_code
        Whether the model that the result names may be run where it is code: ``py:`` and ``hear:``.
    model
        Where the result's model is now, as ``hf:./folder``, if its checkpoint was moved; other
        weights are refused.
    options
        ``device``, ``jobs`` and ``reporter`` are used.

    Returns
    -------
    Prediction, or iterator of Prediction
        One of an array; of files one each, in their order, and one with a ``failure`` where a file
        can't be decoded.

    Raises
    ------
    ProbeError
        The result or its heads can't be used, or a rate is missing beside an array.
    ExtractError
        The model can't be loaded, or an array is no audio.

    Example
    -------
    >>> import numpy as np, svuprobe
    >>> run = "results/logmel@v1/technique.synthetic/linear.json"
    >>> prediction = svuprobe.predict(run, np.sin(np.arange(96000) / 16), 32000)
    >>> prediction.outputs.argmax() in range(10)
    True
    """
    options = options or RunOptions()
    check_whole("seed", seed, 0, 999)
    # Files carry their rate; that of an array can't be guessed.
    if isinstance(audio, np.ndarray) != (sr is not None):
        raise ProbeError(
            "predict takes an array with its sampling rate sr, or a list of files without one"
        )
    predictor = load_predictor(
        Path(result),
        seed=seed,
        device=options.runs_on,
        run_code=run_code,
        model="" if model is None else model_name(model, options.reporter),
    )
    if isinstance(audio, np.ndarray):
        assert sr is not None  # as is checked above
        return predict_samples(predictor, audio, sr)
    assert not isinstance(audio, np.ndarray)
    files = audio_files(audio)
    paths = [each.path for each in files]
    found = predict_files(predictor, paths, jobs=options.decoders, reporter=options.reporter)
    return _named(found, files)


def _named(predictions: Iterator[Prediction], files: Sequence[AudioFile]) -> Iterator[Prediction]:
    """Yield predictions with where they lie in the folders that were named."""
    for prediction, file in zip(predictions, files, strict=True):
        yield replace(prediction, name=file.name)


def save_predictions(
    predictions: Iterable[Prediction], out: str | Path, *, plots: bool = False
) -> Iterator[tuple[Prediction, list[Path]]]:
    """Write MIDI, CSV, JAMS and beat files of predictions, as they come.

    Parameters
    ----------
    predictions
        As `predict` gives them.
    out
        Folder of the files. Each file of audio has a name of its own there, in folders as those
        that it was found in.
    plots
        Draw a picture of each, too.

    Returns
    -------
    iterator of (Prediction, list of Path)
        Each prediction and what was written of it: nothing where it has a ``failure``.

    Raises
    ------
    FileError
        The system refuses to write.

    Example
    -------
    >>> import svuprobe
    >>> run = "results/logmel@v1/technique.synthetic/linear.json"
    >>> predictions = svuprobe.predict(run, ["song.wav"])
    >>> for prediction, paths in svuprobe.save_predictions(predictions, "out"):
    ...     print([path.name for path in paths])
    ['song.csv']
    """
    folder, names = local_path(out), _Names()
    for prediction in predictions:
        stem = names.take_path(prediction.name or Path(prediction.path.name))
        paths: list[Path] = []
        # A failure is yielded like any other: the caller counts and names them.
        if not prediction.failure:
            paths += formats.write(prediction, folder / stem)
            if plots:
                paths.append(draw.draw(prediction, folder / f"{stem}.png"))
        yield prediction, paths


class _Names:
    """Name files of several folders, none of them twice: the second ``take`` becomes ``take-2``.

    Letters that differ in case alone are the same on some file systems. What can't be the start of
    a file's name is replaced: the file of ``..wav`` has the stem ``.``, and writing there would
    leave the folder.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take_path(self, name: Path) -> str:
        """Return a path for a file that no other has, without the suffix."""
        folders = [_plain(part) for part in name.parent.parts]
        return self.take(name.stem, "".join(f"{folder}/" for folder in folders))

    def take(self, stem: str, folder: str = "") -> str:
        """Return a name for a stem that no other in the folder has, and the folder before it."""
        plain = folder + _plain(stem)
        name = plain
        numbers = itertools.count(2)
        while name.casefold() in self._taken:
            name = f"{plain}-{next(numbers)}"
        self._taken.add(name.casefold())
        return name


def _plain(stem: str) -> str:
    """Return what of a name every file system takes."""
    # Windows takes no colon, and no dot or blank at the end.
    return re.sub(r"[\x00-\x1f/\\:]", "_", stem).strip(". ")[:_LONGEST_STEM] or "audio"
