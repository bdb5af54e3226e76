"""`python -m analysis` is the `multires` command."""

from analysis.cli import main

main()
