"""Stage 1: audio in, the hidden states of every layer out, once, into an HDF5 cache.

``catalogue`` names the models, ``transformer`` and ``handmade`` run them, ``audio`` decodes,
``cache`` holds the features on disk and ``run`` fills it.
"""
