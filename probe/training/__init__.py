"""Train heads on cached features: splits, features, heads of a batch, and their optimiser."""
