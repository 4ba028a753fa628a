"""PASCAL VOC: an XML file for each image.

    root/Annotations/**.xml          annotations; the path without extension is the image's id
    root/JPEGImages/**.jpg           images with any extension of `files.IMAGE_SUFFIXES`
    root/ImageSets/Main/train.txt    ids of a split, one per line; optional

Folders may have other names (`annotations`, `xml`, `images`, in any case), lie inside folders of splits
(`train/annotations/`), or be missing, with each XML beside its image: see `voc.files`. An annotation's image is the one
with its name, else the one that its <filename> names: see `voc.images`.

**Splits** are the lists of images: see `split_lists`. Without lists they are the folders named after splits, such as
Roboflow's `train/`, `valid/` and `test/`.

**Boxes.** VOC counts pixels from 1 and includes both corners, so a box is `[ymin - 1, xmin - 1, ymax, xmax]` over the
image's height and width. Decimals are read. An object without <bndbox> takes the bounding box of its <robndbox>, a box
(cx, cy, w, h) rotated by an angle, or of its <polygon>; their points are edges counted from 0. Coordinates are
fractions of the image if no number of the whole split is above 1.5; then nothing is subtracted. A missing <difficult>
is 0. <part> is left out.

Symbolic links are followed. Ids are looked up among the names in the folder, and never become part of a path.

Faults are counted in the loading report, with their file. Those of every format are in docs/data.md; VOC's own are:

| found | done | kind |
|---|---|---|
| no image of that id, and none that <filename> names | image skipped | `missing` |
| an image that several annotations name, or several images that one names | image skipped | `ambiguous` |
| no annotation of that id | image skipped | `without annotation` |
| annotation is not XML, not an <annotation>, or larger than 10 MB | image skipped | `malformed annotation` |
| annotation declares a DTD, with or without entities | image skipped | `forbidden annotation` |
| <object> inside another element, or without a name or four numbers | box dropped | `incomplete` |
| a coordinate is NaN or infinite | box dropped | `not finite` |
| xmax < xmin or ymax < ymin | box dropped | `swapped corners` |
| xmax = xmin or ymax = ymin: a click, not a box | box dropped | `without area` |
| only rotated boxes or polygons | bounding boxes read | `with outlines` |
| coordinates in fractions | read as fractions | `with boxes in fractions` |
| a.jpg beside a.png | first extension read | `one of several of its name` |
| <filename> names another image, which has no annotation | image of the XML's name read | `named otherwise` |
"""
