"""Trained heads on new audio: answers, the files and the pictures of them."""
