"""Deployment: the tunnel, what ships under ops/deploy, and ways to install."""
