"""Convolve with modulated, deformable kernels (Zhu et al. 2019, "Deformable ConvNets v2", CVPR)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def deform_conv2d(
    x: torch.Tensor,
    offset: torch.Tensor,
    modulation: torch.Tensor,
    weight: torch.Tensor,
    padding: int,
) -> torch.Tensor:
    """Convolve with taps that each look elsewhere, and count more or less, at every position.

    Parameters
    ----------
    x
        (B, C, H, W); zeros outside.
    offset
        (B, K, 2, H', W') rows and columns by which each of the K taps is moved; in between, values
        are interpolated bilinearly.
    modulation
        (B, K, H', W') factor of each tap.
    weight
        (O, C, h, w), K = h w taps row by row.
    padding
        Zeros on each side.

    Returns
    -------
    (B, O, H', W'); with offsets 0 and modulation 1 that of `torch.nn.functional.conv2d`.
    """
    batch, channels, height, width = x.shape
    taps, rows, columns = modulation.shape[1:]
    tap = torch.arange(taps, device=x.device)
    # Taps are numbered row by row; without offsets they lie around the position.
    row = (
        torch.arange(rows, device=x.device)[:, None]
        + (tap // weight.shape[3] - padding)[:, None, None]
    )
    column = (
        torch.arange(columns, device=x.device) + (tap % weight.shape[3] - padding)[:, None, None]
    )
    y, z = offset[:, :, 0] + row, offset[:, :, 1] + column  # (B, K, H', W')
    # grid_sample counts from -1 to 1 over the map, from edge to edge of its pixels.
    grid = torch.stack([(2 * z + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    seen = F.grid_sample(x, grid.flatten(1, 2), align_corners=False)  # (B, C, K H', W')
    seen = seen.view(batch, channels, taps, rows, columns) * modulation[:, None]
    return torch.einsum("bckhw,ock->bohw", seen, weight.flatten(2))


class DeformableConv2d(nn.Module):
    """Apply 3 x 3 kernels that learn where to look: (B, C, H, W) to (B, O, H, W); no bias.

    Offsets and modulation (twice a sigmoid) are convolutions of the input that begin at zero, so
    the layer begins as an ordinary convolution.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 18, 3, padding=1)
        self.modulation = nn.Conv2d(in_channels, 9, 3, padding=1)
        for parameter in (*self.offset.parameters(), *self.modulation.parameters()):
            nn.init.zeros_(parameter)
        self.weight = nn.Parameter(nn.Conv2d(in_channels, out_channels, 3).weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offset = self.offset(x).unflatten(1, (9, 2))
        return deform_conv2d(x, offset, 2 * self.modulation(x).sigmoid(), self.weight, padding=1)
