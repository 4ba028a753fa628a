"""Bugs planted in `data`."""

from tests.mutants.planted import Mutant

BUILD, CACHE, PLACE = (
    "jaxssd/data/build.py",
    "jaxssd/data/cache.py",
    "jaxssd/data/placement.py",
)
DATASET, LOAD, COCO_DETECT = "jaxssd/data/dataset.py", "jaxssd/data/load.py", "jaxssd/data/formats/coco/detect.py"
KEYS = "tests/data/test_fingerprints.py"
OPTIONS = "tests/test_options.py::test_every_setting_of_a_run_changes_what_it_says"

PLANTED = (
    Mutant(BUILD, '        "aspect": aspect,\n', "", "the cache's key without aspect", KEYS),
    Mutant(BUILD, '        "reader": type(source).__name__,\n', "", "the cache's key without the reader", KEYS),
    Mutant(BUILD, '        "max_objects": max_objects,\n', "", "the cache's key without the limit", KEYS),
    Mutant(BUILD, '        "image_size": image_size,\n', "", "the cache's key without the size", KEYS),
    Mutant(BUILD, '        "ids": ids,\n', "", "the cache's key without the ids", KEYS),
    Mutant(BUILD, '        "class_names": class_names,\n', "", "the cache's key without the classes", KEYS),
    Mutant(
        CACHE,
        "checksum = zlib.crc32(os.read(descriptor, SAMPLE_BYTES))",
        "checksum = 0",
        "the cache's key without the start of pictures",
    ),
    Mutant(CACHE, "            _discard(folder)\n", "", "a damaged cache that stays"),
    Mutant(CACHE, 'iter(partial(os.read, descriptor, BLOCK_BYTES), b"")', "[]", "annotations by their size alone"),
    Mutant(
        DATASET, "(self.sizes, *self.examples[1:])", "(self.sizes, *self.examples[1:4])", "difficult not pinned", KEYS
    ),
    Mutant(DATASET, "json.dumps([self.class_names, self.ids])", "json.dumps([self.ids])", "names not pinned", KEYS),
    Mutant(DATASET, "np.argsort(-area, kind", "np.argsort(area, kind", "the smallest are kept"),
    Mutant(PLACE, "extent = sizes / sizes.min(", "extent = sizes / sizes.max(", "a crop that is a letterbox"),
    Mutant(PLACE, "np.tile(first, 2)) / np", "np.tile(last, 2)) / np", "boxes shifted on the way back"),
    Mutant(PLACE, "(image_size - pixels) // 2", "(image_size - pixels)", "margins on one side"),
    Mutant(
        LOAD,
        "max_objects=config.max_objects",
        "max_objects=100",
        "--max-objects ignored",
        f"{OPTIONS}[max_objects]",
    ),
    Mutant(LOAD, "aspect=config.aspect", 'aspect="squash"', "--aspect ignored", f"{OPTIONS}[aspect]"),
    Mutant(
        LOAD,
        "val_fraction=config.val_fraction",
        "val_fraction=0.2",
        "--val-fraction ignored",
        f"{OPTIONS}[val_fraction]",
    ),
    Mutant(
        LOAD,
        "chosen.train if split ==",
        "chosen.val if split ==",
        "trained on what is validated on",
        f"{OPTIONS}[train_split]",
    ),
    Mutant(
        COCO_DETECT,
        "Path(images) if images else default",
        "default",
        "--images ignored",
        f"{OPTIONS}[images]",
    ),
    Mutant(
        LOAD,
        "seed = list(SHAPES_IMAGES).index(split)",
        "seed = 0",
        "splits of Shapes share pictures",
        "tests/data/test_shapes.py::test_no_picture_is_in_two_splits",
    ),
    Mutant(
        "jaxssd/data/results.py", "np.array([1, 1, 0, 0])", "np.array([1, 1, 1, 1])", "VOC's corners a pixel too far"
    ),
    Mutant(
        "jaxssd/data/results.py",
        "score, (ymin, xmin, ymax, xmax) in",
        "score, (xmin, ymin, xmax, ymax) in",
        "rows for columns",
    ),
    Mutant(
        "jaxssd/data/formats/coco/instances.py",
        'is_true(annotation.get("iscrowd")) or is',
        "is",
        "crowds are objects",
        "tests/data/formats/coco/test_file.py",
    ),
    Mutant(
        "jaxssd/data/formats/voc/annotation.py",
        "0 if fractions or item.is_hull else 1",
        "0 if item.is_hull else 1",
        "VOC's minus 1 from fractions",
        "tests/data/formats/voc/test_layouts.py",
    ),
    Mutant(
        "jaxssd/data/formats/voc/annotation.py",
        "                return False\n            found",
        "                continue\n            found",
        "one tiny box makes fractions of all",
        "tests/data/formats/voc/test_layouts.py",
    ),
    Mutant(
        "jaxssd/data/doubts.py", ".min(axis=1, initial=np.inf)", ".max(axis=1, initial=0)", "the longer side is small"
    ),
    Mutant(
        "jaxssd/data/doubts.py",
        "np.asarray(examples.difficult)[valid].sum()",
        "np.asarray(examples.difficult).any(axis=1).sum()",
        "images for difficult objects",
    ),
    Mutant(
        "jaxssd/data/doubts.py", "kinds[problem.kind] += problem.count", "kinds[problem.kind] += 1", "entries for boxes"
    ),
    Mutant(
        "jaxssd/training/job.py",
        ', *notes_on_doubts("val", val_set)]',
        "]",
        "doubts of val are not said",
        "tests/data/test_doubts.py",
    ),
    Mutant(
        "jaxssd/data/images.py",
        "if drawn.stated_size == shown != stored:",
        "if drawn.stated_size == stored != shown:",
        "turned where the size says no",
    ),
    Mutant("jaxssd/data/images.py", "far <= side + _SLACK", "far <= side - 1", "boxes to the edge fit nothing"),
    Mutant("jaxssd/data/images.py", "(5, 6, 7, 8)", "(6, 8)", "mirrored turns are none"),
    Mutant(
        "jaxssd/data/images.py",
        "original = stored[::-1] if turned and quarter else stored",
        "original = stored",
        "the size of a turned picture is the stored one",
    ),
    Mutant("jaxssd/data/images.py", "draft=(2 * size, 2 * size)", "draft=(size // 2, size // 2)", "half the detail"),
    Mutant(
        "jaxssd/data/images.py",
        'Image.new("RGBA", size, "white")',
        'Image.new("RGBA", size, "black")',
        "transparent is black",
    ),
    Mutant("jaxssd/data/images.py", "Image.Resampling.BILINEAR", "Image.Resampling.NEAREST", "nearest pixels"),
    Mutant(
        "jaxssd/data/images.py",
        "part = (x1 * image.width, y1 * image.height, x2",
        "part = (y1 * image.width, x1 * image.height, x2",
        "the wrong part is cropped",
    ),
    Mutant(
        "jaxssd/data/images.py",
        "_turn(image, orientation)\n        photograph",
        "photograph",
        "photographs lie on their side",
    ),
    Mutant("jaxssd/data/images.py", "if reader.length > MAX_BYTES:", "if reader.length < 0:", "files of any size"),
    Mutant(
        "jaxssd/data/image_formats.py",
        "bits in (8, 10, 12, 16) if",
        "bits in (8, 12, 16) if",
        "10 bits are 12",
        "tests/data/test_images.py",
    ),
    Mutant(
        "jaxssd/data/image_formats.py",
        "(values.clip(0) >> (bits - 8))",
        "(values.clip(0) >> 8)",
        "8 bits in 16 are black",
        "tests/data/test_images.py",
    ),
    Mutant(
        "jaxssd/data/image_formats.py",
        "if share < _LEAST_SHARE:",
        "if share < 0:",
        "any cut JPEG is kept",
        "tests/data/test_images.py",
    ),
    Mutant(
        "jaxssd/data/image_formats.py",
        "factor = 255 if peak <= 1",
        "factor = 1 if peak <= 1",
        "floats up to 1 are black",
        "tests/data/test_images.py",
    ),
    Mutant(
        "jaxssd/data/class_filter.py",
        "count.get(problem.detail, 0) + problem.count",
        "count.get(problem.detail, 0) + 1",
        "counts of counts are lost",
    ),
    Mutant(
        "jaxssd/data/class_filter.py",
        "np.asarray(examples.valid) & ~np.asarray(examples.difficult)]",
        "np.asarray(examples.valid)]",
        "difficult ones count",
    ),
    Mutant(
        "jaxssd/data/doubts.py",
        "doubt.number >= max(1, doubt.limit * doubt.total)",
        "doubt.number > max(1, doubt.limit * doubt.total)",
        "one of twenty is not told",
    ),
    Mutant(
        BUILD,
        "kept_difficult.append((record.difficult | cut)[inside])",
        "kept_difficult.append(record.difficult[inside])",
        "objects cut by the crop are learned",
    ),
    Mutant(BUILD, "images[len(kept)] = images[row]", "pass", "pictures move against their boxes"),
    Mutant(
        "jaxssd/data/orientation.py",
        'if exif != "auto":\n        return exif == "apply"',
        'if exif != "auto":\n        return False',
        "--exif apply ignored",
    ),
    Mutant(
        "jaxssd/data/orientation.py",
        'if "shown" not in fits or "stored" in fits:',
        'if "shown" not in fits:',
        "undecided pictures turn against the stored ones",
    ),
    Mutant(
        "jaxssd/data/boxes.py",
        "if not (record.normalised or close or drawn_here) and",
        "if not (record.normalised or close) and",
        "an old size scales boxes out of the picture",
    ),
    Mutant("jaxssd/data/orientation.py", "known = others()", "known: tuple = ()", "each split is turned by itself"),
    Mutant("jaxssd/data/orientation.py", "    if misleading:\n", "    if False:\n", "misleading sizes are believed"),
    Mutant(
        "jaxssd/data/images.py",
        'find_fit(stored, upright) if quarter else "either"',
        "find_fit(stored, upright)",
        "half turns by their size",
    ),
    Mutant("jaxssd/data/images.py", "_BACK = {6: 8, 8: 6}", "_BACK: dict = {}", "TIFFs turned back the wrong way"),
    Mutant(
        "jaxssd/data/images.py",
        "if in_stored and drawn.stated_size == stored != shown:",
        "if drawn.stated_size == stored != shown:",
        "a stated size against its boxes",
    ),
    Mutant(
        "jaxssd/data/image_formats.py",
        "[1, 1, 1, 3]",
        "[0, 1, 2, 3]",
        "grey with transparency by the wrong bytes",
        "tests/data/test_images.py",
    ),
    Mutant(
        "jaxssd/data/image_formats.py",
        "        return image, 1.0\n",
        "        pass\n",
        "progressive JPEGs by their last scan",
        "tests/data/test_images.py",
    ),
)
