"""Configuration of a training run: settings by topic, checks beside the fields, JSON with a version."""

from jaxssd.config.config import TOPIC_OF, TOPICS, VERSION, Config
from jaxssd.config.topics import (
    LESSON_PRIOR,
    AnchorConfig,
    AugmentationConfig,
    DatasetConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Phase,
    PostprocessConfig,
    RuntimeConfig,
    Schedule,
    Trainable,
    unset_is,
)

__all__ = [
    "LESSON_PRIOR",
    "TOPICS",
    "TOPIC_OF",
    "VERSION",
    "AnchorConfig",
    "AugmentationConfig",
    "Config",
    "DatasetConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Phase",
    "PostprocessConfig",
    "RuntimeConfig",
    "Schedule",
    "Trainable",
    "unset_is",
]
