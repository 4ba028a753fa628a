"""COCO's class names in the order of their category ids, and VOC's words for the classes that COCO has too.

Source: the categories of COCO 2017, `instances_val2017.json`. Its 80 categories have ids from 1 to 90; ten of these
numbers were never annotated.
"""

_NAMES = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant - stop_sign parking_meter "
    "bench bird cat dog horse sheep cow elephant bear zebra giraffe - backpack umbrella - - handbag tie suitcase "
    "frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle - "
    "wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair "
    "couch potted_plant bed - dining_table - - toilet - tv laptop mouse remote keyboard cell_phone microwave oven "
    "toaster sink refrigerator - book clock vase scissors teddy_bear hair_drier toothbrush"
)

COCO_CLASSES = tuple(
    f"N/A {number}" if name == "-" else name.replace("_", " ") for number, name in enumerate(_NAMES.split(), start=1)
)
"""Name of each category id from 1 to 90: the class at index i has id i + 1. A gap is named `N/A` and its id."""

SYNONYMS = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""COCO's word for each of PASCAL VOC's classes that COCO spells differently."""


def is_gap(name: str) -> bool:
    """True for the name of an id that no object has, such as `N/A 12`."""
    return name.startswith("N/A ") and name.removeprefix("N/A ").isdigit()


def common_name(name: str) -> str:
    """Class name for comparison: in lower case, without dashes and underscores, and COCO's word for VOC's.

    Args:
        name: class name of any data set.

    Returns:
        Name that classes of equal meaning share.

    Example:
        >>> common_name("Traffic_Light"), common_name("tvmonitor"), common_name("cat")
        ('traffic light', 'tv', 'cat')
    """
    words = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return SYNONYMS.get(words, words)
