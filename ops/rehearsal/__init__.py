"""A rehearsal: a processor or a named flow runs here and now, without Redis and without a worker.

The rest is as in a worker: the same decoding, dependencies and limits, `cpu` in a child process,
and an Ollama: that of the settings where it answers, else a simulator started for the rehearsal.
"""

from ops.rehearsal.cast import Cast, find_cast
from ops.rehearsal.play import Audience, Rehearsed, rehearse
from ops.rehearsal.samples import Sample, samples_of

__all__ = ["Audience", "Cast", "Rehearsed", "Sample", "find_cast", "rehearse", "samples_of"]
