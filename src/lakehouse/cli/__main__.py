"""`python -m lakehouse.cli …`: the command line where its script is not on the path."""

from lakehouse.cli import main

main()
