"""Sound files: opened, decoded in worker processes, cut into the windows that models see."""
