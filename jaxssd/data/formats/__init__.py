"""Formats of data sets on disk: a package for each, found by `registry`; `base` is what each of them answers."""
