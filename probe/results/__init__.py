"""Hold what a probe gives: the result, its scores and layers, and its file."""
