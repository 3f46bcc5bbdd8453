"""Fine-tuning end to end, of transformers and of supervised baselines."""
