"""The offline side of pretap: trains and evaluates decoders, and writes bundles."""
