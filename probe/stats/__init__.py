"""Say how sure a score is, and whether one model is better than another."""
