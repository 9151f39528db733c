"""Measurements of single promises; `roughneck bench` measures the whole."""
