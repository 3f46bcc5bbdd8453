"""Make targets on disk: k-means on a share of the recordings, and every frame's cluster.

``run/targets-<digest>.h5`` holds for one set of targets ``centroids`` (k, dim), ``codes`` (frames
of all recordings, uint16) and ``starts`` (recordings + 1). The digest is of the recordings, the
target and how it is clustered, so a file is never taken for another's. k-means is scikit-learn's
MiniBatchKMeans with the settings of fairseq's ``simple_kmeans/learn_kmeans.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from svuprobe._files import write_bytes
from svuprobe._progress import Reporter
from svuprobe.pretrain.recipe import PretrainError, Recipe
from svuprobe.pretrain.recordings import Recordings
from svuprobe.pretrain.targets import GRID_HOP, Target

_VERSION = 1  # raised when codes could change
_BLOCK = 50_000  # frames whose distances to all centroids are held at once


@dataclass(frozen=True)
class Codes:
    """Hold the cluster of every frame: the targets of a training.

    Attributes
    ----------
    name, clusters
        Of the set of targets.
    digest
        Of what they were made from and how.
    codes, starts
        (frames,) uint16 of all recordings, and where each begins, (recordings + 1,).
    """

    name: str
    clusters: int
    digest: str
    codes: np.ndarray
    starts: np.ndarray

    @property
    def entropy(self) -> float:
        """Return the entropy of the clusters, nats: the loss of one who knows no more."""
        counts = np.bincount(self.codes, minlength=self.clusters)
        shares = counts[counts > 0] / len(self.codes)
        return float(-(shares * np.log(shares)).sum())

    @property
    def most_common(self) -> float:
        """Return the share of the most common cluster: the accuracy of one who knows no more."""
        return float(np.bincount(self.codes, minlength=self.clusters).max() / len(self.codes))

    def of_crop(self, recording: int, offset: int, frames: int) -> np.ndarray:
        """Return the codes (frames,) of a crop that begins at a sample on the grid.

        Where the last frames of a recording have no target (their window is wider than the
        network's), the last target is repeated.
        """
        first = self.starts[recording] + offset // GRID_HOP
        codes = self.codes[first : min(first + frames, self.starts[recording + 1])]
        missing = frames - len(codes)
        return np.pad(codes, (0, missing), mode="edge") if missing else codes


def make_codes(
    recordings: Recordings, target: Target, recipe: Recipe, folder: Path, reporter: Reporter
) -> Codes:
    """Cluster a target's features over all recordings, or read what was clustered before.

    Raises
    ------
    PretrainError
        There are fewer frames than clusters.
    """
    about = {
        "version": _VERSION,
        "recordings": recordings.digest,
        "target": target.name,
        "weights": target.weights,
        "share": recipe.cluster_share,
        "most_frames": recipe.most_cluster_frames,
        "inits": recipe.cluster_inits,
        "seed": recipe.seed,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"targets-{digest}.h5"
    if path.is_file():
        try:
            return _read(path, target, digest)
        except (OSError, KeyError, RuntimeError) as error:  # as h5py says that a file is damaged
            reporter.say(f"{path}: damaged ({error}); made again")
    centroids = _fit(recordings, target, recipe, reporter)
    codes: list[np.ndarray] = []
    numbers = range(len(recordings.recordings))
    for number in reporter.watch(numbers, f"targets {target.name}", len(numbers)):
        features = _features(recordings, number, target)[:: target.every]
        codes.append(_nearest(features, centroids))
    starts = np.cumsum([0, *map(len, codes)])
    made = Codes(target.name, target.clusters, digest, np.concatenate(codes), starts)
    # In memory first: h5py ends a process whose disk is full with a segmentation fault.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["about"] = json.dumps(about, sort_keys=True)
        file.create_dataset("centroids", data=centroids.numpy())
        # With checksums: another code would train another model, and nobody would know.
        file.create_dataset("codes", data=made.codes, fletcher32=True)
        file.create_dataset("starts", data=made.starts, fletcher32=True)
    write_bytes(path, content.getvalue())
    return made


def _read(path: Path, target: Target, digest: str) -> Codes:
    """Return what was clustered before; an error of h5py where the file is damaged."""
    with h5py.File(path) as file:
        return Codes(target.name, target.clusters, digest, file["codes"][:], file["starts"][:])


@torch.inference_mode()
def _features(recordings: Recordings, number: int, target: Target) -> torch.Tensor:
    """Return the features (frames, dim) of a recording; none where it is shorter than one frame."""
    audio = torch.from_numpy(recordings.read(recordings.recordings[number]))
    if len(audio) < 2 * GRID_HOP:
        audio = torch.nn.functional.pad(audio, (0, 2 * GRID_HOP - len(audio)))
    return target.features(audio).float()


def _fit(
    recordings: Recordings, target: Target, recipe: Recipe, reporter: Reporter
) -> torch.Tensor:
    """Return the centroids (k, dim) of k-means on a share of the recordings."""
    from sklearn.cluster import MiniBatchKMeans

    order = np.random.default_rng([recipe.seed, 3]).permutation(len(recordings.recordings))
    wanted = order[: max(1, round(recipe.cluster_share * len(order)))]
    chosen: list[np.ndarray] = []
    total = 0
    for number in reporter.watch(wanted, f"features {target.name}", len(wanted)):
        features = _features(recordings, int(number), target).numpy()
        chosen.append(features)
        total += len(features)
        if total >= recipe.most_cluster_frames:
            break
    frames = np.concatenate(chosen)[: recipe.most_cluster_frames]
    if len(frames) < target.clusters:
        raise PretrainError(
            f"{target.name}: {len(frames)} frames in {len(chosen)} recordings, fewer than its "
            f"clusters; give more audio, a larger cluster_share (now "
            f"{recipe.cluster_share:g}), or fewer clusters"
        )
    kmeans = MiniBatchKMeans(
        target.clusters,
        init="k-means++",
        max_iter=100,
        batch_size=10_000,
        tol=0.0,
        max_no_improvement=100,
        n_init=recipe.cluster_inits,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=recipe.seed,
    ).fit(frames)
    return torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))


def _nearest(features: torch.Tensor, centroids: torch.Tensor) -> np.ndarray:
    """Return the number of the nearest centroid of every frame: (frames,) uint16."""
    squares = centroids.square().sum(dim=1)
    parts = []
    for block in features.split(_BLOCK):
        # The squared length of a frame is the same for all centroids.
        parts.append((squares - 2 * block @ centroids.T).argmin(dim=1).numpy().astype(np.uint16))
    return np.concatenate(parts) if parts else np.empty(0, np.uint16)
