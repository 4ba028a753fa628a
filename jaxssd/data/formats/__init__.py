"""Formats of data sets on disk: a package for each, found by `registry`; `base` has their interface."""
