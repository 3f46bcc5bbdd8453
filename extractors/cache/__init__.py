"""Features on disk: immutable HDF5 shards, the index that joins them, and what keeps them whole."""
