"""``python -m pretap`` is the command ``pretap``."""

from pretap.cli import main

main()
