"""Answer for new audio with trained heads, and write answers as files and pictures."""
