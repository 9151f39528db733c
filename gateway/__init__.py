"""The HTTP edge, in and out."""
