"""Bugs planted in `inference`, and in what evaluate.py does with it."""

from tests.mutants.planted import Mutant

DETECTOR, FOUND, INPUTS = (f"jaxssd/inference/{name}.py" for name in ("detector", "found", "inputs"))
RESIZING, SCORING, STREAM = (f"jaxssd/inference/{name}.py" for name in ("resizing", "scoring", "stream"))

VIDEO = "jaxssd/inference/video.py"

PLANTED = (
    Mutant(DETECTOR, "result.valid & ~self._gaps[result.labels]", "result.valid", "gaps are found"),
    Mutant(DETECTOR, "placements[:, 2:]", "None", "boxes reach into the padding"),
    Mutant(FOUND, "self.boxes[:, [1, 0, 3, 2]]", "self.boxes", "supervision gets y first"),
    Mutant(INPUTS, "ImageOps.exif_transpose(self.source)", "self.source", "open images lie on their side"),
    Mutant(RESIZING, "canvas[: resized[0], : resized[1]] =", "canvas[-resized[0] :, -resized[1] :] =", "padding above"),
    Mutant(SCORING, "problem.kind == TURNED", "False", "images lie otherwise than their boxes"),
    Mutant(SCORING, "result.valid & (labels >= 0)", "result.valid", "classes that the data lacks count as its first"),
    Mutant(STREAM, "dispatch(waiting.pop(first.pixels.shape))", "pass", "a rare shape holds up all others"),
    Mutant(STREAM, "if len(ahead) >= batch_size + workers:", "if len(ahead) >= 999:", "far too many are decoded ahead"),
    Mutant(VIDEO, "round(frame.rotation / 90)", "-round(frame.rotation / 90)", "phones' videos upside down"),
    Mutant(VIDEO, 'options={"format_whitelist": FORMATS}', "options={}", "a list of files opens them"),
    Mutant(VIDEO, "round((time - start) * TICKS)", "tick + TICKS // 25", "frames lose their times"),
    Mutant("jaxssd/tools/detect_images.py", "len(set(numbers)) < len(numbers)", "False", "two images have one number"),
)
