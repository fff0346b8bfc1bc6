"""Evaluation of decoders, and advice on whether to go live."""
