"""Fine-tune end to end: transformers and supervised baselines."""
