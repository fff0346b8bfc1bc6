"""Run the command ``pretap`` as ``python -m pretap``."""

from pretap.cli import main

main()
