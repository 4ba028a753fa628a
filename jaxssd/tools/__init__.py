"""What a training run does not need: data-set inspection, the learning-rate finder, the lesson's ideas drawn."""
