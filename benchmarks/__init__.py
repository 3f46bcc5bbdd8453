"""Make leaderboards and plots, from result files alone."""
