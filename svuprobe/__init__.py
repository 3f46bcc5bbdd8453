"""svuprobe: which frozen audio model, and which of its layers, to use for a singing or music task."""

__version__ = "0.1.0"
