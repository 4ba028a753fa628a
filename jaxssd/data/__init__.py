"""From files, or from nothing, to a `Dataset` of padded arrays."""
