"""All settings of a training run in one frozen record, stored as JSON in the run's folder."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from jaxssd.atomic import write_json
from jaxssd.config.topics import (
    AnchorConfig,
    AugmentationConfig,
    DatasetConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PostprocessConfig,
    RuntimeConfig,
    Topic,
    one_of,
)
from jaxssd.tasks import TASKS

VERSION = 1
"""Version of the JSON. A later version of jaxssd reads it: settings that are missing have their defaults."""


@dataclass(frozen=True)
class Config(Topic):
    """Settings of a run by topic. A preset is a `Config` with other defaults.

    Names of settings are unique over all topics, so that `Config.of`, `replace` and the command line need no topic.

    Example:
        >>> config = Config.of(image_size=64, epochs=(3,))
        >>> config.dataset.input_shape, config.replace(seed=7).runtime.seed
        ((64, 64), 7)
    """

    task: Annotated[str, one_of(TASKS)] = "detection"
    """Task: boxes and classes of all objects, the largest object's box, its box and class, or all classes."""
    dataset: DatasetConfig = DatasetConfig()
    model: ModelConfig = ModelConfig()
    anchors: AnchorConfig = AnchorConfig()
    loss: LossConfig = LossConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def check(self) -> None:
        """Check the task's name."""
        self.require("task", self.task in TASKS, f"one of {', '.join(TASKS)}")

    @classmethod
    def of(cls, **settings: Any) -> "Config":
        """Make a configuration from settings by name, without topics; the others have their defaults.

        Raises:
            ValueError: for a value out of range.
            TypeError: for an unknown setting.
        """
        return cls().replace(**settings)

    def replace(self, **settings: Any) -> "Config":
        """Copy with other values of some settings, by name, without topics; raises like `of`."""
        if unknown := sorted(set(settings) - set(TOPIC_OF)):
            raise TypeError(f"unknown settings: {', '.join(unknown)}")
        changed: dict[str, Any] = {}
        for topic in dict.fromkeys(TOPIC_OF[name] for name in settings):
            own = {name: _as_tuple(value) for name, value in settings.items() if TOPIC_OF[name] == topic}
            changed |= {topic: dataclasses.replace(getattr(self, topic), **own)} if topic else own
        return dataclasses.replace(self, **changed)

    def settings(self) -> dict[str, Any]:
        """All settings by name, without topics."""
        return {name: getattr(getattr(self, topic) if topic else self, name) for name, topic in TOPIC_OF.items()}

    def as_json(self) -> dict[str, Any]:
        """Version and settings by topic; tuples become lists when it is written."""
        return {"version": VERSION} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Config":
        """Make a configuration from the output of `as_json`.

        Raises:
            ValueError: for another version, an unknown setting, or a value out of range.
        """
        version = record.get("version")
        if version != VERSION:
            found = "no version" if version is None else f"version {version}"
            raise ValueError(
                f"its settings have {found}, expected version {VERSION}: another version of jaxssd wrote them; use "
                "that version, or start a new run"
            )
        given = [
            (name if name in TOPICS else "", setting, inner)
            for name, value in record.items()
            if name != "version"
            for setting, inner in (dict(value).items() if name in TOPICS else [(name, value)])
        ]
        if unknown := sorted(setting for topic, setting, _ in given if TOPIC_OF.get(setting) != topic):
            raise ValueError(f"settings that this version does not know: {', '.join(unknown)}")
        return cls.of(**{setting: inner for _, setting, inner in given})

    def save(self, path: Path) -> None:
        """Write the configuration as JSON."""
        write_json(path, self.as_json())

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Read a configuration that `save` wrote.

        Raises:
            FileNotFoundError: if there is no file at `path`.
            ValueError: if it is not such a file; the message names it and the unknown setting.
        """
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # no JSON, another type, out of range
            raise ValueError(f"{path} is not the config.json of a run: {error}") from error


TOPICS = tuple(field.name for field in dataclasses.fields(Config) if dataclasses.is_dataclass(field.default))
"""Names of the topics, which are fields of `Config`."""

TOPIC_OF = {"task": ""} | {
    field.name: topic for topic in TOPICS for field in dataclasses.fields(getattr(Config, topic))
}
"""Topic of each setting; the empty text for a field of `Config` itself."""


def _as_tuple(value: Any) -> Any:
    """Tuple of a list, as JSON and notebooks write several values; other values stay as they are."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
