"""The offline side of pretap: it trains and evaluates decoders, and writes bundles."""
