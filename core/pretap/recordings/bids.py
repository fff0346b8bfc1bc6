"""BIDS folders: the recordings that ``bids:ROOT?subject=01&task=rest`` selects. Used by all that take recordings."""


def is_bids(name: str) -> bool:
    """Whether a name selects recordings of a BIDS folder."""
    return name.startswith("bids:")
