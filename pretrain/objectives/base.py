"""Define what the training loop asks of an objective."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from svuprobe.pretrain.networks import Body


class Objective(nn.Module):
    """Join a network and what it is trained by; its state holds all that a checkpoint needs.

    Attributes
    ----------
    body
        The network that is saved in the end.
    measures
        Names of the numbers that `forward` gives beside the loss.
    """

    body: Body
    measures: tuple[str, ...]

    def forward(
        self, audio: Tensor, mask: Tensor, codes: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean loss of some crops.

        Parameters
        ----------
        audio
            (crops, samples) float32.
        mask
            (crops, frames) bool, as many true in every row.
        codes
            (crops, frames) int64 of each set of targets.

        Returns
        -------
        loss, measures
            The loss, and numbers to watch by the names of `measures`: means over the masked frames.
        """
        raise NotImplementedError

    def after_step(self, done: int) -> None:
        """Do what follows an update of the weights, of which ``done`` are done now."""

    def collapsed(self, done: int, measures: dict[str, float]) -> str:
        """Return why a training is pointless to continue, in a sentence, or an empty string."""
        return ""
