"""From decisions to the world: numbering, and the sinks that messages go to."""
