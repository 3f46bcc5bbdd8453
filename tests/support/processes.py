"""Processes that have the libraries that this one has read: reading them takes seconds."""

import multiprocessing
import sys

import torch

# One with a GPU in use can't be forked.
START = "fork" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"
CONTEXT = multiprocessing.get_context(START)
