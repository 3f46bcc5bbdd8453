"""Bring datasets to disk: download, unpack, check against official numbers."""
