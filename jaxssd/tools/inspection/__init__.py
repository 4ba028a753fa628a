"""What is in a data set, and which anchors fit it: `python -m jaxssd.data`."""
