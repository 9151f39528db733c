"""`roughneck bench`: what this machine does with this version, measured on a private Redis."""
