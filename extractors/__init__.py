"""Stage 1: audio in, the hidden states of every layer out, once, into an HDF5 cache.

`base` is the contract of an extractor. `catalogue` is the table of models, `names` reads their
names into `name_forms`, `loading` makes them, and `models` is one file a family, over
`checkpoints`. `extract` fills caches: `jobs` says what is to be done, `audio` decodes, `batching`
runs the models, `writer` and `cache` keep the features, in a `place`: a folder, or a `store`.
`check_model` tries an extractor of your own, by the checks of `model_trial`.
"""
