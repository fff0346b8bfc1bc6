"""The C sources of the live side, and the loader of the library built from them."""
