"""Stage 2: heads trained on the cache, their results and how sure they are.

``protocol`` says how to train, ``data`` reads a cache into batches, ``heads`` and ``train`` train
every head of the grid together, ``evaluate`` selects on validation and scores the test split once,
``result`` is the file.
"""
