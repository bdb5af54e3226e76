"""Importing this package registers every claim."""

from analysis.claims import convergence, exactness, pooling, spaces, twins, unets

__all__ = ["convergence", "exactness", "pooling", "spaces", "twins", "unets"]
