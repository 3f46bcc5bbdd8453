"""Published checkpoints: their files, their weights without running code, the architecture they describe."""
