"""Hold the networks that svuprobe computes with its own code, one file a family.

`base` has the contract, `table` says which there are, `svuprobe.extractors.models.native` fills
them from checkpoints. Names of their weights are those of the published checkpoints. No code of a
checkpoint runs. Where transformers has the modules of an encoder, its network holds and calls them
(`of_transformers`).
"""
