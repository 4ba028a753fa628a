"""COCO: JSON files of images, annotations and categories.

    instances.json      {"images": [...], "annotations": [...], "categories": [...]}, as COCO's instances_train2017.json
                        and the lesson's pascal_train2007.json; also packed, instances.json.gz
    images/             anywhere below this folder, found by `file_name`

`coco.file` reads one file, `coco.folder` a folder with a file for each split.

**Boxes.** COCO counts from the outer edge of the first pixel: a bbox [x, y, width, height] is the box `[y, x, y +
height, x + width]` over the image's height and width. In the lesson's file it is the box of VOC's own corners. An
annotation with `iscrowd`, or with `ignore` as the lesson's file marks VOC's difficult objects, is `difficult`. An
annotation without a bbox, or with four zeros, takes the bounding box of its segmentation. Files whose bboxes are
fractions, or corners [x1, y1, x2, y2], are recognised by all of their boxes: see `coco.units`. Numbers and ids may be
text ("12.0").

**Classes** are the categories in the order of their ids, with or without annotations.

**Splits.** A file is one split, named like the file without `.json`. Other JSON files in its folder are splits if they
are named: `--data train.json --val-split val`. Otherwise a share of the file is held out.

**Ids** are `file_name` without its extension, like VOC's, so that the same images give the same held-out share. If two
entries would have the same id, the image's number follows: `a#7`. An image of another split is `val.json/a`, but `a` if
the first file lists that picture too: so a picture in both splits is detected. Two files named after different splits
must have no picture in common. `image_ids` and `category_ids` are the numbers for COCO's results files.

**Images** are found by the longest tail of `file_name` that is a path below the folder. Case, backslashes, URL encoding
and a missing extension make no difference. If several images match, those in a folder named after the split win:
`a.jpg` of val.json is `val/a.jpg`, and never `train/a.jpg`. Folders in `file_name` may be of another machine; but if
some entries' folders exist, an entry whose folder does not is `missing`: `vidA/1.jpg` is not `vidB/1.jpg`. Symbolic
links are followed. A `file_name` never becomes part of a path.

**LVIS.** `coco_url` replaces `file_name`. LVIS does not annotate every class in every image. Here all that is not
annotated is background; images with `not_exhaustive_category_ids` are noted.

Faults are counted in the loading report, with their file. Those of every format are in docs/data.md; COCO's own are:

| found | done | kind |
|---|---|---|
| no image of that `file_name` | image skipped | `missing` |
| several such images, or one that two entries name | image skipped | `ambiguous` |
| image entry without id, or without `file_name` and `coco_url` | image skipped | `incomplete` |
| annotation without image_id or category_id, or with neither four numbers nor an outline | box dropped | `incomplete` |
| image_id of no listed image | box dropped | `unknown image` |
| category_id of no listed category | box dropped | `unknown category` |
| a number of the bbox is NaN, infinite or has 308 digits | box dropped | `not finite` |
| width or height below zero | box dropped | `negative size` |
| width or height zero | box dropped | `without area` |
| id, category and bbox of another annotation of the image | box dropped | `repeated` |
| Roboflow's category above all others, never used | no class | `root category` |
| fractions, corners | read as such | `with bbox in fractions`, `with bbox as corners` |
| outlines without a bbox | bounding boxes read | `with outlines` |

Annotations of no listed image are reported with each split of the file. Errors, because reading on would be a guess:
a file that is not COCO's instances, two images or categories with one id, a category name twice, splits with different
category ids, fractions in another form, or no readable image at all.
"""
