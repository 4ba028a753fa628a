"""Result of one photograph: objects in its pixels, to print, draw, save and convert."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from jaxssd.data.images import as_rgb
from jaxssd.inference.inputs import Input
from jaxssd.tasks.task import Task


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """Objects found in one photograph, highest scores first.

    Attributes:
        labels: name of each object's class.
        scores: score of each object, at least the threshold.
        boxes: corners `[y1, x1, y2, x2]` of each object in pixels of the photograph, upright as a person sees it.
        class_ids: number of each object's class, its place in the detector's `class_names`.
        size: (height, width) of the photograph in pixels.
        file: path of the photograph; None for an image in memory.
        threshold: lowest score that counts.
        result: all results of the task, boxes in shares of the photograph's height and width.
    """

    labels: list[str]
    scores: Float32[np.ndarray, " D"]
    boxes: Float32[np.ndarray, "D 4"]
    class_ids: Int32[np.ndarray, " D"]
    size: tuple[int, int]
    file: Path | None
    threshold: float
    result: Any
    _task: Task
    _photograph: Input

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Name of the photograph, and its objects in a few words."""
        names = ", ".join(f"{label} {score:.2f}" for label, score in zip(self.labels, self.scores, strict=True))
        return f"<Found in {self._photograph.name}: {names or 'nothing'}>"

    def photograph(self) -> UInt8[np.ndarray, "H W 3"]:
        """Decode the photograph at its own size. A file is read again, so that results stay small.

        Raises:
            UnreadableImage: if the file cannot be decoded any more; the message begins with its name.
        """
        return as_rgb(self._photograph.read())

    def to_json(self) -> dict[str, Any]:
        """Record for JSON: the file, its size in pixels, and class, score and box `[y1, x1, y2, x2]` of each object."""
        height, width = self.size
        found = self._task.to_json(self.result, self.size, self.threshold)
        return {
            "file": None if self.file is None else str(self.file),
            "height": height,
            "width": width,
            "detections": found,
        }

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`: `xyxy` in pixels, and the classes' names as `data["class_name"]`.

        Raises:
            ModuleNotFoundError: if that library is not installed; the message has the command.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_supervision needs the library supervision: pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes[:, [1, 0, 3, 2]],
            confidence=self.scores,
            class_id=self.class_ids.astype(int),
            data={"class_name": np.array(self.labels, dtype=str)},
        )

    def save(self, path: str | Path) -> None:
        """Draw the objects on the photograph, at its own size, and save it in the format of the file's ending.

        Args:
            path: file; replaced if it exists. Its folder is made.

        Raises:
            ValueError: if matplotlib has no such format, as for `.bmp`.
            OSError: if the file cannot be written.
        """
        from jaxssd.viz.style import save  # matplotlib is imported with the first figure

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save(self._figure(), path)

    def drawn(self) -> UInt8[np.ndarray, "H W 3"]:
        """Draw the objects on the photograph; pixels at its own size."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = self._figure()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.array(canvas.buffer_rgba())[..., :3]
        figure.clear()
        return pixels

    def show(self) -> None:
        """Show the photograph with its objects: in the notebook, or else in a window of the system's image viewer."""
        image = Image.open(io.BytesIO(self._repr_png_()))
        try:
            shell = get_ipython()  # type: ignore[name-defined]  # a name that IPython defines
        except NameError:
            shell = None
        if getattr(shell, "kernel", None) is None:  # IPython in a terminal shows no pictures
            image.show(title=self._photograph.name)
            return
        from IPython.display import display

        display(image)

    def _repr_png_(self) -> bytes:
        """Picture that a notebook shows for the result."""
        buffer = io.BytesIO()
        figure = self._figure()
        figure.savefig(buffer, format="png")
        figure.clear()
        return buffer.getvalue()

    def _figure(self) -> Any:
        from jaxssd.viz.tasks import drawing_of

        return drawing_of(self._task).draw(self._task, self.photograph(), self.result, self.threshold)


def found_in(photograph: Input, size: tuple[int, int], result: Any, task: Task, threshold: float) -> Found:
    """Select the objects that count.

    Args:
        photograph: the photograph.
        size: its (height, width) in pixels.
        result: result of the task, boxes in shares of the photograph's height and width.
        task: task of the detector. One without detections has the rows of its `to_json`: a class without a box has the
            whole photograph, and a box without a score has 1.
        threshold: lowest score that counts.
    """
    sides = np.array([*size, *size], np.float32)
    if task.gives_detections:
        shown = result.valid & (result.scores >= threshold)
        ids, scores, boxes = result.labels[shown], result.scores[shown], result.boxes[shown] * sides
        labels = [task.class_names[label] for label in ids]
    else:
        rows = task.to_json(result, size, threshold)
        labels = [row.get("class", "largest object") for row in rows]
        ids = np.array([task.class_names.index(row["class"]) if "class" in row else 0 for row in rows])
        scores = np.array([row.get("score", 1) for row in rows])
        boxes = np.reshape([row.get("box", [0, 0, *size]) for row in rows], (-1, 4))
    return Found(
        labels,
        scores.astype(np.float32),
        boxes.astype(np.float32),
        ids.astype(np.int32),
        size,
        photograph.file,
        threshold,
        result,
        task,
        photograph,
    )
