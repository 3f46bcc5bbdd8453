"""Datasets on disk: downloaded, unpacked, checked against official numbers."""
