"""Inspection of a data set before training: `python -m jaxssd.data`."""
