"""`roughneck demo`: the whole platform at work on one machine, with workers that die on the way."""
