"""Pre-train from end to end: a recipe and audio in, a model's folder out.

``OUT`` becomes the folder of the model (`svuprobe.pretrain.model_folder`). What is needed on the
way lies in ``OUT/run``: decoded audio, targets, the checkpoint and ``curve.csv``; models that are
kept on the way in ``OUT/step<n>``.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from svuprobe._distributed import Distributed
from svuprobe._files import locked, write_text, writing
from svuprobe._show import shown
from svuprobe._tracking import tracking
from svuprobe.extractors import loading
from svuprobe.extractors.audio import Decoders
from svuprobe.extractors.names import typed
from svuprobe.extractors.networks.kaldi import RATE
from svuprobe.pretrain.clusters import make_codes
from svuprobe.pretrain.crops import Crops
from svuprobe.pretrain.going_on import Run, require_same
from svuprobe.pretrain.model_folder import Seen, save_model
from svuprobe.pretrain.networks import build
from svuprobe.pretrain.objectives import objective_of
from svuprobe.pretrain.options import PretrainOptions
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.recordings import Recordings, decode, find_audio
from svuprobe.pretrain.targets import Target, target_of
from svuprobe.pretrain.train import State, Training

_NAMED = 5  # files in a message


@dataclass(frozen=True)
class Pretrained:
    """Say what a training left.

    Attributes
    ----------
    folder
        Of the model, absolute; ``hf:FOLDER`` loads it.
    recipe
        It was trained by.
    seen
        What it was trained on.
    curve
        Rows of the curve: step, hours, loss and measures, learning rate, seconds.
    """

    folder: Path
    recipe: Recipe
    seen: Seen
    curve: tuple[dict[str, float], ...]

    __repr__ = shown


def pretrain(
    recipe: Recipe,
    audio: Sequence[Path],
    out: Path,
    options: PretrainOptions,
    processes: Distributed,
) -> Pretrained:
    """Train a recipe on the sound files of folders and manifests.

    Raises
    ------
    PretrainError
        There is no audio to train on, the folder holds another training, or the training collapsed.
    ExtractError
        The recipe's teacher can't be loaded, or several files hang one after the other.
    """
    out = out.absolute()  # so that hf:OUT names it, wherever it is used
    run = out / "run"
    if not options.resume and (run / "checkpoint.safetensors").is_file():
        raise PretrainError(
            f"{out}: holds a training; go on with --resume, or choose another folder"
        )
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
    # One process of several holds the folder for all.
    with locked(run / "training", wait=False) if processes.first else nullcontext(True) as mine:
        if not mine:
            raise PretrainError(f"{out}: another process is training there; wait for it")
        return _pretrain(recipe, audio, out, options, processes)


def _pretrain(
    recipe: Recipe,
    audio: Sequence[Path],
    out: Path,
    options: PretrainOptions,
    processes: Distributed,
) -> Pretrained:
    """Train, in a folder that is this training's own."""
    run, reporter = out / "run", options.reporter
    # The first process decodes and clusters; the others then read what it wrote.
    if not processes.first:
        processes.wait()
    files = find_audio(audio)
    targets = _targets(recipe, options)  # before hours of decoding: a name may be wrong
    teacher = tuple(target.weights for target in targets if target.weights)
    checkpoint = run / "checkpoint.safetensors"
    if options.resume and checkpoint.is_file():
        require_same(checkpoint, recipe, teacher, files)
    with Decoders(options.decoders, options.decode_timeout_s) as decoders:
        recordings, problems = decode(
            files,
            run,
            sample_rate=RATE,
            speeds=recipe.speeds,
            decoders=decoders,
            reporter=reporter,
        )
    for line in problems[:_NAMED]:
        reporter.say(f"left out: {line}")
    if len(problems) > _NAMED:
        reporter.say(f"left out: {len(problems) - _NAMED} more, all named in {run / 'audio.jsonl'}")
    codes = [make_codes(recordings, target, recipe, run, reporter) for target in targets]
    if processes.first:
        processes.wait()

    body = build(recipe)
    grid = body.grid
    # Enough frames for a span and one that is not masked.
    shortest = grid.samples(recipe.mask_span + 2)
    crops = Crops(recordings, recipe, grid.hop, shortest)
    objective = objective_of(recipe, body, [each.clusters for each in codes])
    objective.to(processes.device or options.runs_on)
    parameters = sum(p.numel() for p in body.model.parameters())
    reporter.say(
        f"{recipe.name} ({recipe.hash}): {parameters / 1e6:.2f} M parameters, "
        f"{recordings.hours:.2f} h of audio, {recipe.steps} steps"
    )
    for each in codes:
        reporter.say(
            f"targets {each.name}: entropy {each.entropy:.3f}, most common {each.most_common:.3f}"
        )

    def keep(done: int) -> None:
        """Keep the model as it is now."""
        seen = _seen(training.state, recordings, audio)
        save_model(out / f"step{done}", body, recipe, seen, options.weights_dtype)

    training = Training(
        objective,
        crops,
        codes,
        recipe=recipe,
        options=options,
        processes=processes,
        checkpoint=checkpoint,
        run=Run(recipe, teacher, recordings.digest, tuple(each.digest for each in codes)),
        keep=keep,
    )
    config = asdict(recipe) | {"hash": recipe.hash, "hours": recordings.hours}
    # Of several processes the first one logs.
    tracker = options.track if processes.first else None
    with tracking(
        tracker, recipe.name, config, folder=run / "tensorboard", reporter=reporter
    ) as training.tracker:
        state = training.run()
    seen = _seen(state, recordings, audio)
    if processes.first:
        write_text(run / "curve.csv", curve_text(state.rows))
        save_model(out, body.cpu(), recipe, seen, options.weights_dtype)
    processes.wait()
    return Pretrained(out, recipe, seen, tuple(state.rows))


def _targets(recipe: Recipe, options: PretrainOptions) -> list[Target]:
    """Return what is clustered; data2vec makes its own targets."""
    if recipe.objective == "data2vec":
        return []

    def load(model: str) -> object:
        extractor = loading.load(typed(model, options.reporter))
        extractor.to(options.runs_on, torch.float32)
        return extractor

    return [target_of(name, recipe.teacher, load) for name in recipe.targets]


def _seen(state: State, recordings: Recordings, audio: Sequence[Path]) -> Seen:
    """Gather what a model was trained on."""
    sources: dict[str, float] = defaultdict(float)
    words = _sources(audio)
    for recording in recordings.recordings:
        if recording.speed == recordings.recordings[0].speed:
            hours = recording.samples * recording.speed / recordings.sample_rate / 3600
            sources[words.get(recording.path, "files without a manifest")] += hours
    last = state.rows[-1] if state.rows else {}
    return Seen(
        recordings=len({r.path for r in recordings.recordings}),
        hours=recordings.hours,
        hours_seen=state.audio_s / 3600,
        steps=state.done,
        sources={name: f"{hours:.2f}" for name, hours in sources.items()},
        losses={name: v for name, v in last.items() if name.startswith(("loss", "accuracy"))},
    )


def _sources(places: Sequence[Path]) -> dict[str, str]:
    """Return source and licence of each file, where a manifest has columns of these names."""
    words: dict[str, str] = {}
    for place in places:
        if place.suffix.lower() == ".csv" and place.is_file():
            with place.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    # What follows a colon, a comma or an option tells single files apart.
                    source = re.split("[:,]| -", row.get("source") or "")[0]
                    about = [source, row.get("licence") or ""]
                    words[str(place.parent / (row.get("path") or ""))] = ", ".join(
                        filter(None, about)
                    )
    return {path: text or "a manifest without sources" for path, text in words.items()}


def curve_text(rows: Sequence[dict[str, float]]) -> str:
    """Return the curve as CSV."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    return text.getvalue()
