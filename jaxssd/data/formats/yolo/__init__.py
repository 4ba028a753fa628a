"""YOLO: a text file of boxes for each image.

    root/data.yaml               class names: `names`, a list or a mapping from indices; or another file of
                                 `detect.NAMES_FILES`, in the folder or with the labels; the first one counts
    images/train/**.jpg          (a) with labels/train/**.txt
    train/images/**.jpg          (b) with train/labels/**.txt, as Roboflow has it
    **.jpg                       (c) with a .txt of the same name beside it

`yolo.files` finds the labels of an image, by Ultralytics' rule, and its id.

**Splits** are those that data.yaml states, by Ultralytics' rules: `path`, and `train`, `val` and `test`, each a folder,
a .txt list of images, or a list of such; or those of Darknet's obj.data: see `yolo.splits`. Others are lists named
train.txt, valid.txt and so on, or folders named after splits: in (a) and (c) the first folder of the path, in (b) the
one that holds `images`. Otherwise there are no splits, as with images/*.jpg and labels/*.txt.

**Boxes.** A line is `class center_x center_y width height`, in fractions of the image's width and height. It becomes
`[center_y - height/2, center_x - width/2, center_y + height/2, center_x + width/2]`. A line with more points is an
outline, or the four corners of a rotated box: its bounding box is read. Keypoints after a box, whose number data.yaml
states as `kpt_shape`, are left out. Boxes refer to the image rotated by its EXIF orientation, as OpenCV and so YOLO's
own tools read images.

Symbolic links are followed. Ids are only looked up, and never become part of a path.

Faults are counted in the loading report, with their file. Those of every format are in docs/data.md; YOLO's own are:

| found | done | kind |
|---|---|---|
| no image for a .txt file, or for a line of a list | image skipped | `missing` |
| .txt file is not UTF-8, has more than 10 MB, or cannot be read | image skipped | `malformed annotation` |
| a number above 1.5: pixels | image skipped | `not normalised` |
| no .txt file: an image without objects | image kept | `without label file` |
| the only .txt file of that name, in another folder but not of another split | read | `labels in another folder` |
| a.jpg beside a.png | first extension read | `one of several of its name` |
| fewer than four numbers, or an odd number of them in an outline | box dropped | `incomplete` |
| a fifth number, as detectors write their confidence | box dropped | `with confidence` |
| a fifth number that is not a confidence, in any line of the file | box dropped | `with an angle` |
| a number is NaN or infinite | box dropped | `not finite` |
| width or height below zero | box dropped | `negative size` |
| width or height zero | box dropped | `without area` |
| outlines | bounding boxes read | `with outlines` |

These faults are errors, because reading would be a guess: a class that is not an index of the names, names that are
missing, empty, repeated or not `nc` in number, several files of names that differ, a folder of another layout, a stated
split that does not exist, images outside the data set's folder, no .txt file for any image, objects in the .xml of an
image without a .txt, or no readable image at all.
"""
