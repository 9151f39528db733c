"""Errors of apps: what they have in common, how many are normal, what may be told to a model."""
