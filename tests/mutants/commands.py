"""Bugs planted in the commands, the settings and the presets."""

from tests.mutants.planted import Mutant

TRAIN, EVALUATE, INSPECT = "train.py", "evaluate.py", "jaxssd/tools/inspection/command.py"
CONFIG, PRESETS = "jaxssd/config/topics.py", "jaxssd/presets.py"
SETTINGS = "tests/test_config.py"
OPTIONS = "tests/test_options.py"
OF_TRAIN = f"{OPTIONS}::test_every_option_of_train_changes_what_it_says"
OF_EVALUATE = f"{OPTIONS}::test_every_option_of_evaluate_changes_what_it_says"
CHECKPOINT = f"{OPTIONS}::test_the_checkpoint_that_is_asked_for_is_used_whatever_is_done"
INSPECTION = f"{OPTIONS}::test_what_else_the_inspection_is_asked"
OF_DATA = f"{OPTIONS}::test_the_runs_own_data_is_that_of_then_and_other_data_has_splits_of_its_own"
TWICE = "restore(run, command.checkpoint)\n    if not"

PLANTED = (
    Mutant(TRAIN, "elif command.find_lr:", "elif False:", "--find-lr ignored", OF_TRAIN),
    Mutant(TRAIN, "command.resume or command.out:", "command.resume:", "--out ignored", OF_TRAIN),
    Mutant(
        TRAIN,
        '    return "large" if has_accelerator() else "small"',
        '    return "small" if has_accelerator() else "large"',
        "--data takes another preset",
        OF_TRAIN,
    ),
    Mutant(
        EVALUATE,
        "        run.require_same_data({split: dataset.fingerprint})",
        "        pass",
        "data of now scored",
        OF_DATA,
    ),
    Mutant(
        EVALUATE,
        'about = {"checkpoint": command.checkpoint,',
        'about = {"checkpoint": "best",',
        "all scores are called the best's",
        OF_EVALUATE,
    ),
    Mutant(
        EVALUATE,
        "images=command.data_images, train_split=None, val_split=None)",
        "images=command.data_images)",
        "--data keeps the run's splits",
        OF_DATA,
    ),
    Mutant(
        CONFIG, 'for name in ("batch_size", "grad_accum_steps"):', "for name in ():", "zero images a batch", SETTINGS
    ),
    Mutant(TRAIN, "if command.keep_compiled:", "if True:", "--no-keep-compiled ignored", OF_TRAIN),
    Mutant(
        EVALUATE,
        "restore(run, command.checkpoint, data_mesh())",
        'restore(run, "best", data_mesh())',
        "--checkpoint ignored",
        OF_EVALUATE,
    ),
    Mutant(EVALUATE, TWICE, 'restore(run, "best")\n    if not', "--explain --checkpoint ignored", CHECKPOINT),
    Mutant(
        EVALUATE,
        "jaxssd.load(command.run, checkpoint=command.checkpoint, ",
        "jaxssd.load(command.run, ",
        "--images --checkpoint ignored",
        CHECKPOINT,
    ),
    Mutant(EVALUATE, 'split = command.split or "val"', 'split = "val"', "--split ignored", OF_EVALUATE),
    Mutant(EVALUATE, "images=command.data_images,", "images=None,", "--data-images ignored", OF_EVALUATE),
    Mutant(
        EVALUATE,
        "task.shown_from if command.threshold is None",
        "task.shown_from if True",
        "--threshold ignored",
        OF_EVALUATE,
    ),
    Mutant(EVALUATE, "folder = command.out or command.home\n", "folder = command.home\n", "--out ignored", OF_EVALUATE),
    Mutant(
        EVALUATE,
        "batch_size=command.batch_size or config.",
        "batch_size=config.",
        "--batch-size ignored",
        OF_EVALUATE,
    ),
    Mutant(
        EVALUATE,
        "if all_of_ours or name in matched)",
        "if True)",
        "published classes that the data lacks are scored",
        "tests/test_commands.py::test_a_published_detector_is_scored_on_data_with_some_of_its_classes",
    ),
    Mutant(EVALUATE, "    if command.export:  #", "    if False:  #", "--export ignored", OF_EVALUATE),
    Mutant(INSPECT, "boxes_per_cell=command.anchors or given", "boxes_per_cell=given", "--anchors ignored", INSPECTION),
    Mutant(INSPECT, "folder = command.out or Path", "folder = Path", "--out ignored", INSPECTION),
    Mutant(
        INSPECT, "preset = PRESETS[command.preset]()", "preset = PRESETS['small']()", "--preset ignored", INSPECTION
    ),
    Mutant(
        CONFIG,
        "values * (self._num_phases() // len(values))",
        "values[:1] * self._num_phases()",
        "phases alike",
        SETTINGS,
    ),
    Mutant(CONFIG, "0 < self.val_fraction < 1", "0 <= self.val_fraction < 1", "nothing held out", SETTINGS),
    Mutant(CONFIG, "1 <= side <= 4096", "0 <= side <= 4096", "images without a pixel", SETTINGS),
    Mutant(
        PRESETS, '"lr_multipliers": (0.01, 0.1, 1.0)', '"lr_multipliers": (0.1, 0.01, 1.0)', "lower and upper swapped"
    ),
    Mutant(
        "jaxssd/presets.py",
        "mean=published.mean, std=published.std",
        "mean=published.mean",
        "the images are not scaled as the weights expect",
        "tests/test_options.py::test_published_weights_decide_the_input_and_phases",
    ),
    Mutant(
        PRESETS,
        '="positives",\n        match_threshold=0.5,\n',
        '="positives",\n',
        "SSD300 matches at the lesson's threshold",
    ),
)
