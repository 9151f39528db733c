"""The engine: jobs on Redis Streams in three resource classes. No HTTP, no screen, no metrics."""
