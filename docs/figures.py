"""Run the small commands of `docs/lesson.md`, and make its pictures from the runs.

    python docs/figures.py

A command whose `--out` is complete is not run again, and a stopped run is resumed. If all runs are complete, only the
pictures are made.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
LESSON = ROOT / "docs" / "lesson.md"
PLACEHOLDER = "FOLDER"  # commands with this word need photographs
MOST_BYTES = 250_000
DONE = ("scores-val.json", "learning-rate.png")  # last file that a command writes into its folder

PICTURES = {
    "largest_box": "largest_box/figures/val-detections.png",
    "augmentation": "anchors16/figures/ideas/augmentation.png",
    "largest_object": "largest_object/figures/val-detections.png",
    "multilabel": "multilabel/figures/val-labels.png",
    "phases": "phases/figures/training.png",
    "learning-rate": "learning-rate/learning-rate.png",
    "receptive-fields": "focal/figures/ideas/receptive-fields.png",
    "matches": "anchors16/figures/ideas/matches.png",
    "anchors16": "anchors16/figures/ideas/raw-predictions.png",
    "anchors": "focal/figures/ideas/anchors.png",
    "anchors189": "anchors189/figures/val-detections.png",
    "focal-loss": "focal/figures/ideas/focal-loss.png",
    "focal": "focal/figures/val-detections.png",
    "suppression": "focal/figures/ideas/suppression.png",
    "precision-recall": "focal/figures/test-precision-recall.png",
}
"""Source of each `lesson-NAME.png`, in the folder `runs`."""


def commands(markdown: str) -> list[list[str]]:
    """Commands of the `bash` blocks of a document, in order, each as a list of words."""
    blocks = [part.split("```", 1)[0] for part in markdown.split("```bash\n")[1:]]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def small_commands(markdown: str) -> list[list[str]]:
    """Commands of a document that train or evaluate and need no photographs."""
    return [words for words in commands(markdown) if words[0] == "python" and PLACEHOLDER not in words]


def main() -> None:
    """Run the commands that are not complete, then write the pictures."""
    for words in small_commands(LESSON.read_text()):
        out = ROOT / words[words.index("--out") + 1] if "--out" in words else None
        if out is not None and any((out / name).exists() for name in DONE):
            print(f"{out} is complete")
            continue
        if out is not None and (out / "config.json").exists():
            words = ["python", "train.py", "--resume", str(out)]
        print(shlex.join(words), flush=True)
        subprocess.run([sys.executable, *words[1:]], cwd=ROOT, check=True)
    for name, source in PICTURES.items():
        write_picture(ROOT / "runs" / source, LESSON.parent / "images" / f"lesson-{name}.png")


def write_picture(source: Path, target: Path) -> None:
    """Copy a picture; a large one is reduced to 256 colours, not in size, since blending pixels adds colours."""
    target.write_bytes(source.read_bytes())
    if target.stat().st_size > MOST_BYTES:
        with Image.open(source) as picture:
            few_colors = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few_colors.save(target, optimize=True)
    if target.stat().st_size > MOST_BYTES:
        sys.exit(f"{target} has {target.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    print(target)


if __name__ == "__main__":
    main()
