"""The evidence: verifies every claim of docs/theory.md numerically, draws it, and reports it."""
