"""Engines: who runs a language model. Each is a context manager that leaves the base as it was."""
