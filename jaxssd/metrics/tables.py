"""How scores are shown and stored where one is undefined: a dash, and null."""

import math


def none_if_nan(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return None if math.isnan(value) else value


def show(value: float) -> str:
    """Four decimals, or a dash.

    Example:
        >>> show(0.5), show(math.nan)
        ('0.5000', '-')
    """
    return "-" if math.isnan(value) else f"{value:.4f}"
