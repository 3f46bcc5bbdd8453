"""Hold the models: one file a family, from audio to the hidden states of every layer."""
