"""Tools that no training run imports: data-set inspection, learning-rate finder, and figures of the lesson's ideas."""
