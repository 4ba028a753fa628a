"""PASCAL VOC 2007 and 2012, downloaded and prepared by TensorFlow Datasets.

TensorFlow prepares the data once, in a separate process (`tfds.prepare`). Reading needs only NumPy and array_record
(`tfds.reader`).

TFDS stores a box as `[ymin / H, xmin / W, ymax / H, xmax / W]` in float32, of VOC's own pixels, which count from 1 and
include both corners. `tfds.source` reads it as `[ymin - 1, xmin - 1, ymax, xmax]` in pixels, as a VOC folder is read:
the product with the image's height or width is off by less than `H * 2**-24`, and a whole number that close is the
annotated one. Decimals keep float32's rounding. TFDS takes `H` and `W` from the annotation, and the reader from the
image: if they differ, boxes are stretched. Boxes without area are dropped and images without objects are kept, as with
a folder.
"""
