"""Inspection of a data set, `python -m jaxssd.data PATH`: see `jaxssd.tools.inspection.command`."""

import sys

from jaxssd.tools.inspection.command import main

if __name__ == "__main__":
    main(sys.argv[1:])
