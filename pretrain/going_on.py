"""Say whether a run may go on from the checkpoint that is there, as early as that can be known.

Decoding and clustering take hours, and would write over what the checkpoint's own run has decoded:
so recipe, teacher and files are compared before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from svuprobe._files import sha256_of
from svuprobe._tensors import read_about
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.recordings import digest_of, read_index

START_ANEW = "delete it and start anew without --resume"


@dataclass(frozen=True)
class Run:
    """Hold what has to agree between a checkpoint and the run that goes on from it.

    Attributes
    ----------
    recipe
        What is trained.
    teacher
        Digests of the weights whose layers are clustered.
    audio
        Digest of the recordings, in their order.
    targets
        Digests of every set of targets.
    """

    recipe: Recipe
    teacher: tuple[str, ...]
    audio: str
    targets: tuple[str, ...]

    def marks(self) -> dict[str, Any]:
        """Return what a checkpoint says of its run."""
        parts = [self.recipe.hash, self.audio, *self.targets]
        whole = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return {"run": whole, "recipe": asdict(self.recipe), "teacher": list(self.teacher)}

    def require(self, checkpoint: Path, about: Mapping[str, Any]) -> None:
        """Raise PretrainError where a checkpoint is of another run."""
        if about.get("run") != self.marks()["run"]:
            raise _other(checkpoint, "with another recipe or other audio")


def require_same(
    checkpoint: Path, recipe: Recipe, teacher: Sequence[str], files: Sequence[Path]
) -> None:
    """Raise PretrainError where a checkpoint is of another recipe, teacher or other files than
    these; FileError where it is damaged.
    """
    about = read_about(checkpoint, START_ANEW)
    differing = _differing(about.get("recipe", {}), recipe)
    if differing:
        raise _other(checkpoint, f"with another recipe ({', '.join(differing)})")
    if about.get("teacher", list(teacher)) != list(teacher):
        raise _other(checkpoint, f"with other weights of the teacher {recipe.teacher}")
    changed = _changed(files, checkpoint.with_name("audio.jsonl"))
    if changed:
        raise _other(checkpoint, f"on other audio: {changed}")


def _other(checkpoint: Path, how: str) -> PretrainError:
    """Return the error for a checkpoint of another run."""
    return PretrainError(f"{checkpoint}: of a run {how}; give the same again, or {START_ANEW}")


def _differing(then: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Say which fields a checkpoint's recipe has otherwise, but for the name and the place of the
    teacher.
    """
    now = json.loads(json.dumps(asdict(recipe)))
    names = [name for name in then if name != "name" and then[name] != now.get(name)]
    if "teacher" in names and Path(then["teacher"]).name == Path(recipe.teacher).name:
        names.remove("teacher")
    return [f"{name} = {then[name]!r}, now {now.get(name)!r}" for name in names]


def _changed(files: Sequence[Path], index: Path) -> str:
    """Say which file is new or gone since an index was written; nothing where all are the same,
    wherever they lie.
    """
    head, known, problems = read_index(index)
    if not known or head.get("files") == digest_of(files):
        return ""
    here = {}
    for file in files:
        try:
            here[file] = sha256_of(file)
        except OSError:
            here[file] = ""
    decoded = {recording.digest for recording in known}
    gone = [recording.path for recording in known if recording.digest not in here.values()]
    if gone:
        return f"{gone[0]} is changed or no longer there"
    # Of what could not be read there is no digest, only the name.
    unread = {Path(path).name for path in problems}
    new = [file for file, digest in here.items() if digest not in decoded]
    new = [file for file in new if file.name not in unread]
    return f"{new[0]} is new" if new else ""
