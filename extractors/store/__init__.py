"""Keep caches in an object store: ``s3://bucket/prefix``, or any other address of fsspec.

Objects lie there under the names that files have in a folder (`svuprobe.extractors.cache.format`),
so that a copy of the one is the other. Every command works on a local copy, which holds what was
needed so far: `address` says where it is, `opening` opens it, `objects` speaks to the store,
`transfer` carries files, `remote` says which and when, and `manage` lists, verifies and prunes what
is there.
"""
