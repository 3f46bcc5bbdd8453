"""Give scikit-learn the rows of a table: what a head reads of the training or validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from svuprobe._sizes import gib
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.training.features import Block, ClipFeatures
from svuprobe.probe.training.frames import FrameFeatures, memory_allowed
from svuprobe.probe.training.heads import CONCAT, MEAN, Bank, Shape, Spec
from svuprobe.probe.training.layer_sets import bank_of, name_of

Features = ClipFeatures | FrameFeatures
# Of float64: the table, a copy of it scaled or rotated, and what a solver holds of it.
_TABLES_AT_ONCE = 3


def layers_of(protocol: Protocol, n_layers: int) -> list[int]:
    """Return what heads read: single layers first, then the sets that the protocol may rank."""
    layers = list(range(n_layers)) if protocol.single_layers or n_layers == 1 else []
    if n_layers > 1:
        layers += [MEAN] if protocol.select in ("best", "mean") else []
        layers += [CONCAT] if protocol.select in ("best", "concat") else []
    return layers


def bank_for(features: Features, specs: list[Spec]) -> Bank:
    """Return linear heads without weights yet, which read what their specs say."""
    shape = Shape(
        layers=len(features.feature_stats.rms),
        dim=features.dim,
        outputs=features.n_outputs,
        start_at_zero=True,
    )
    return bank_of(specs, shape, features.device)


def read(bank: Bank, block: Block, rows: torch.Tensor | slice) -> np.ndarray:
    """Return what heads see of some rows of a block, (N, D) float32."""
    states: np.ndarray = bank.inputs(block.read(bank, rows))[0].cpu().numpy()
    return states


@dataclass(frozen=True)
class Projection:
    """Hold the principal components of a table: (D,) its centre, (P, D) the components."""

    centre: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, table: np.ndarray, n: int, layer: str) -> Projection:
        """Find the first ``n`` components of (N, D) training rows.

        Raises ProbeError where there are fewer.
        """
        if n > min(table.shape):
            raise ProbeError(
                f"pca = {n}: {layer} has {table.shape[1]} features and {table.shape[0]} training "
                f"rows; ask for at most {min(table.shape)} components"
            )
        from sklearn.decomposition import PCA

        # The solver for large tables is randomised: its generator is the same each time.
        found = PCA(n, random_state=0).fit(table)
        return cls(found.mean_, found.components_)

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """Return (N, P) of (N, D)."""
        return np.asarray((table - self.centre) @ self.components.T)


@dataclass(frozen=True)
class Table:
    """Hold what a seed learns from in one layer or set of layers.

    Attributes
    ----------
    rows
        (N, D) float64, projected where the protocol has ``pca``.
    targets
        (N, ...) as the loss of networks has them.
    projection
        None without ``pca``.
    """

    rows: np.ndarray
    targets: np.ndarray
    projection: Projection | None


def training_table(features: Features, layer: int, seed: int) -> Table:
    """Read what a seed learns from. Raises ProbeError where the memory allowed does not hold it."""
    bank = bank_for(features, [Spec(layer, 0.0, seed)])
    name = name_of(layer, features.cache.header.layer_names)
    _require_room(features, bank, name)
    rows, targets = [], []
    for block, chosen in features.training(seed):
        rows.append(read(bank, block, chosen))
        targets.append(block.targets[chosen].cpu().numpy())
    table = np.concatenate(rows).astype(np.float64)
    projection = None
    if features.protocol.pca:
        projection = Projection.fit(table, features.protocol.pca, name)
        table = projection(table)
    return Table(table, np.concatenate(targets), projection)


def _require_room(features: Features, bank: Bank, layer: str) -> None:
    n = features.n_training_rows
    size = 8 * _TABLES_AT_ONCE * n * bank.shape.dim
    allowed = features.memory or memory_allowed(features.device)
    if size > allowed:
        raise ProbeError(
            f"{features.cache.directory}: head = {features.protocol.head!r} needs {gib(size)} for "
            f"the {n:,} training rows of {layer}, and {gib(allowed)} of memory are allowed; allow "
            "more with --memory, learn from a part with --train-fraction, or train linear heads by "
            "gradient descent (--protocol linear)"
        )
