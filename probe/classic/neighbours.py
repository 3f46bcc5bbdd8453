"""Answer by the nearest training rows, as heads of networks are held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from svuprobe.probe.classic import votes
from svuprobe.probe.classic.inputs import Features, Table, bank_for
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.training.heads import Bank, Spec, Tensors


@dataclass(frozen=True)
class Setting:
    """Hold how many neighbours are asked, by which distance."""

    k: int
    metric: str

    def __str__(self) -> str:
        return f"k = {self.k}, {self.metric}"


class NeighbourBank(Bank):
    """Hold a head for each seed, which asks the neighbours among that seed's training rows.

    What a layer is read by is a linear bank whose weights are not used.
    """

    def __init__(
        self, features: Features, layer: int, tables: list[Table], setting: Setting
    ) -> None:
        reader = bank_for(features, [Spec(layer, 0.0, seed) for seed in range(len(tables))])
        self.__dict__.update(reader.__dict__)
        self.reader, self.setting, self.tables = reader, setting, tables
        self.answers = answers_of(features, tables[0].targets)
        self.said = []
        for table in tables:
            self.said.append(votes.ballots(table.targets, self.answers, self.shape.outputs))

    @property
    def reads(self) -> slice:
        """Return the layers of the hidden states that the heads are given."""
        return self.reader.reads

    def mixing(self) -> torch.Tensor | None:
        """Return what each head weighs the layers by, (H, L); None where it mixes none."""
        return self.reader.mixing()

    def forward(
        self, states: torch.Tensor, keep: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor | None]]:
        """Return outputs (H, B, C) of ``states`` (L, B, D)."""
        inputs = self.reader.inputs(states)
        queries = inputs[0].cpu().numpy()
        made = []
        for table, said in zip(self.tables, self.said, strict=True):
            places = ask(table, queries, self.setting.k, self.setting.metric)
            made.append(torch.from_numpy(votes.outputs(said, places, self.answers)))
        return torch.stack(made).to(self.device), (inputs, None)

    @property
    def about(self) -> dict[str, str | int]:
        """Return how neighbours are asked, as `svuprobe.probe.trained` keeps it."""
        return {"k": self.setting.k, "metric": self.setting.metric, "answers": self.answers}

    def tensors(self) -> Tensors:
        """Return what answers for new audio: each seed's rows, what they say, their projection."""
        kept: Tensors = {}
        for seed, (table, said) in enumerate(zip(self.tables, self.said, strict=True)):
            kept[f"rows{seed}"] = torch.from_numpy(table.rows)
            kept[f"said{seed}"] = torch.from_numpy(said)
            if table.projection is not None:
                kept[f"centre{seed}"] = torch.from_numpy(table.projection.centre.astype(np.float32))
                kept[f"components{seed}"] = torch.from_numpy(
                    table.projection.components.astype(np.float32)
                )
        return kept


def answers_of(features: Features, targets: np.ndarray) -> str:
    """Return what the outputs of a task answer: classes, a tag each, or values."""
    (answers,) = {problem.answers for problem in features.kind.problems(targets)}
    return answers


def ask(table: Table, queries: np.ndarray, most: int, metric: str) -> np.ndarray:
    """Return the nearest training rows to what a head reads, (Q, D): (Q, most)."""
    if table.projection is not None:
        queries = table.projection(queries)
    return votes.nearest(table.rows, queries.astype(np.float32), most, metric)


def grid(features: Features, n_rows: int) -> list[int]:
    """Return the numbers of neighbours to try, ascending: those that there are rows for."""
    asked = sorted(int(k) for k in features.protocol.neighbours)
    return [k for k in asked if k <= n_rows] or [n_rows]


def require_windows(features: Features) -> None:
    """Raise ProbeError where single frames would be asked for their neighbours."""
    if features.kind.level == "frame":
        raise ProbeError(
            f"task {features.task.name}: head = 'knn' compares whole windows, and "
            f"{features.kind.name} are found in single frames, of which there are too many to "
            "compare; probe it with --protocol logistic or linear"
        )
