"""Data-set inspection, the learning-rate finder, and drawings of the lesson's ideas: no training run imports them."""
