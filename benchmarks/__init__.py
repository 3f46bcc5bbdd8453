"""Leaderboards and plots, from result files alone."""
