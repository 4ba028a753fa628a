"""Bugs planted in `tasks`."""

from tests.mutants.planted import Mutant

DETECTION, LARGEST, MULTILABEL = "jaxssd/tasks/detection.py", "jaxssd/tasks/largest.py", "jaxssd/tasks/multilabel.py"
HEADS = "jaxssd/models/heads.py"
OPTIONS = "tests/test_options.py::test_every_setting_of_a_run_changes_what_it_says"

PLANTED = (
    Mutant(
        DETECTION, "targets = examples.valid & ~examples.difficult", "targets = examples.valid", "difficult ones learn"
    ),
    Mutant(DETECTION, "background else jax.nn.sigmoid", "background else jax.nn.softmax", "softmax"),
    Mutant(DETECTION, "softmax(class_logits)[..., :-1]", "softmax(class_logits)[..., 1:]", "background comes first"),
    Mutant(DETECTION, "result.scores >= threshold", "result.scores <= threshold", "the worst are told"),
    Mutant(LARGEST, "jnp.argmax(jnp.where(targets", "jnp.argmin(jnp.where(targets", "the smallest object"),
    Mutant(LARGEST, "box_area(examples.boxes), -1)", "box_area(examples.boxes), 2)", "padding is the largest"),
    Mutant(LARGEST, "CLASS_WEIGHT * classification, loc", "classification, loc", "no weight of the class"),
    Mutant(LARGEST, "return -self.box_error if", "return self.box_error if", "more error is better"),
    Mutant(LARGEST, "[input_shape * 2]", "[input_shape[::-1] * 2]", "rows measured as columns"),
    Mutant(
        HEADS,
        "config.anchors.ratios, image_size=shape)",
        "config.anchors.ratios)",
        "squares in cells, not in pixels",
        "tests/tasks/test_make.py::test_a_rectangular_input_has_anchors_of_its_shape",
    ),
    Mutant(
        MULTILABEL,
        "(results.probabilities > 0.5) == held",
        "(results.probabilities > 0.4) == held",
        "another threshold",
    ),
    Mutant(MULTILABEL, "targets[..., None]).any(axis=1)", "targets[..., None]).all(axis=1)", "all objects of a class"),
    Mutant(MULTILABEL, ".mean(axis=-1))", ".sum(axis=-1))", "a sum over classes"),
    Mutant(DETECTION, "config.loss.negative_ratio", "None", "--negative-ratio ignored", f"{OPTIONS}[negative_ratio]"),
    Mutant(
        DETECTION,
        "threshold=config.anchors.match_threshold",
        "threshold=0.4",
        "--match-threshold ignored",
        f"{OPTIONS}[match_threshold]",
    ),
    Mutant(
        DETECTION,
        "anchors_per_object=config.anchors.anchors_per_object",
        "anchors_per_object=1",
        "--anchors-per-object ignored",
        f"{OPTIONS}[anchors_per_object]",
    ),
    Mutant(
        DETECTION,
        "alpha=config.loss.alpha, gamma=config.loss.gamma",
        "alpha=config.loss.alpha",
        "--gamma ignored",
        f"{OPTIONS}[gamma]",
    ),
    Mutant(
        HEADS,
        '            "prior_probability": config.model.prior_probability,\n',
        "",
        "--prior-probability ignored",
        f"{OPTIONS}[prior_probability]",
    ),
    Mutant(
        DETECTION,
        "BOX_CODERS[config.loss.box_coder]",
        "BOX_CODERS[config.loss.box_coder]._replace(encode=BOX_CODERS['offsets'].encode)",
        "tanh encoded",
        "tests/tasks/test_detection.py",
    ),
)
