"""Bugs planted in `training`."""

from tests.mutants.planted import Mutant

STEPS = "tests/training/test_toy_steps.py"
RUNS = "tests/training/test_toy_runs.py"
JOB = "tests/training/test_toy_job.py"

PLANTED = (
    # step
    Mutant(
        "jaxssd/training/step.py",
        "jax.random.fold_in(key, state.step)",
        "key",
        "every step has the same augmentation and dropout",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/step.py",
        "augment_key, dropout_key = jax.random.split(key)",
        "augment_key, dropout_key = jax.random.key(0), key",
        "every step has the same augmentation",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/step.py",
        'rngs={"dropout": key}',
        'rngs={"dropout": jax.random.key(0)}',
        "every step drops the same",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/step.py",
        "keys = jax.random.split(key, len(batch.images))",
        "keys = jax.numpy.stack([key] * len(batch.images))",
        "all images of a batch are augmented alike",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/step.py",
        "jax.random.split(key, parts)",
        "jnp.stack([key] * parts)",
        "all micro-batches have the same augmentation and dropout",
        STEPS,
    ),
    Mutant("jaxssd/training/step.py", "lambda x: x / parts, total", "lambda x: x / 2, total", "parts are two", STEPS),
    Mutant("jaxssd/training/step.py", "lambda x: x / parts, total", "lambda x: x, total", "a sum for a mean", STEPS),
    Mutant(
        "jaxssd/training/step.py",
        "TrainState(state.step + 1, params",
        "TrainState(state.step, params",
        "the step is not counted",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/step.py",
        "loss = jax.tree.map(jnp.mean, task.loss",
        "loss = jax.tree.map(jnp.sum, task.loss",
        "the loss is a sum over the batch",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/step.py", "            train=True,", "            train=False,", "nothing is dropped", STEPS
    ),
    Mutant(
        "jaxssd/training/step.py",
        "            frozen_stages=frozen_stages,\n            rngs",
        "            frozen_stages=0,\n            rngs",
        "statistics of frozen stages move",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/step.py",
        "image.astype(jnp.float32) / 255",
        "image.astype(jnp.float32) / 256",
        "white is not 1",
        f"{STEPS}::test_an_augmentation_that_does_nothing_leaves_the_pixels",
    ),
    Mutant(
        "jaxssd/training/step.py",
        "batch._replace(images=images, boxes=boxes, valid=valid)",
        "batch._replace(images=images, boxes=boxes)",
        "boxes that left the image stay valid",
        f"{STEPS}::test_objects_that_leave_the_image_are_no_targets",
    ),
    # optimizer and groups
    Mutant("jaxssd/training/optimizer.py", "p.ndim > 1", "p.ndim > 0", "biases and scales decay", STEPS),
    Mutant("jaxssd/training/optimizer.py", ", mask=kernels_only", "", "everything decays", STEPS),
    Mutant("jaxssd/training/optimizer.py", "weight_decay=weight_decay,", "weight_decay=1e-4,", "decay ignored", STEPS),
    Mutant("jaxssd/training/optimizer.py", "rate * schedule(step)", "schedule(step)", "groups share a rate", STEPS),
    Mutant("jaxssd/training/optimizer.py", "optax.set_to_zero()", "optax.identity()", "frozen groups climb", STEPS),
    Mutant("jaxssd/training/optimizer.py", "rate * schedule(step)", "rate * schedule(step + 1)", "a step ahead", STEPS),
    Mutant(
        "jaxssd/training/groups.py", '("upper", "head"),  # freeze', '("lower", "head"),  # freeze', "wrong half", STEPS
    ),
    Mutant(
        "jaxssd/training/groups.py",
        "<= lower_stages(num_stages) else",
        "< lower_stages(num_stages) else",
        "the lower half is a stage short",
        "tests/training/test_groups.py::test_the_lessons_groups",
    ),
    Mutant(
        "jaxssd/training/groups.py",
        '"upper": lower_stages(num_stages), "all": 0',
        '"upper": 0, "all": 0',
        "the lower half keeps learning statistics",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/groups.py",
        '"upper": lower_stages(num_stages), "all": 0',
        '"upper": lower_stages(num_stages), "all": 1',
        "the stem never learns",
        RUNS,
    ),
    # schedules
    Mutant(
        "jaxssd/training/schedules.py",
        "optax.cosine_onecycle_schedule(steps,",
        "optax.cosine_onecycle_schedule(max(steps - 1, 1),",
        "the one-cycle ends a step short",
    ),
    Mutant(
        "jaxssd/training/schedules.py",
        "optax.cosine_onecycle_schedule(steps,",
        "optax.cosine_onecycle_schedule(steps + 1,",
        "the one-cycle ends a step late",
    ),
    Mutant(
        "jaxssd/training/schedules.py",
        "cosine_decay_schedule(phase.learning_rate, steps)",
        "cosine_decay_schedule(phase.learning_rate, steps, 0.1)",
        "the cosine ends at a tenth",
    ),
    Mutant("jaxssd/training/schedules.py", "step <= cut, step / cut", "step < cut, (step + 1) / cut", "a step early"),
    Mutant(
        "jaxssd/training/schedules.py",
        "div=phase.clr[0], cut_div=phase.clr[1]",
        "div=phase.clr[1], cut_div=phase.clr[0]",
        "div and cut_div swapped",
    ),
    Mutant("jaxssd/training/schedules.py", "jnp.maximum(share, 0)", "share", "the rate falls below its lowest"),
    # phases and the loop
    Mutant(
        "jaxssd/training/loop.py",
        "make_schedule(phase, phase_steps)",
        "make_schedule(phase, phase_steps - 1)",
        "the schedule is a step short",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/loop.py",
        "make_schedule(phase, phase_steps)",
        "make_schedule(self.config.phases[0], phase_steps)",
        "every phase has the first one's rates",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/loop.py",
        "if step > first_step:",
        "if step > first_step or step and self.config.phases[place.number - 1].unfrozen == phase.unfrozen:",
        "the optimizer's state is kept from phase to phase",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/loop.py",
        "init_state(variables, optimizer, step)",
        "init_state(variables, optimizer, 0)",
        "every phase draws the first one's random numbers",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/phases.py",
        "first_epoch += phase.epochs",
        "first_epoch += 1",
        "phases lie over one another",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/phases.py",
        "group_rates=config.group_rates",
        "group_rates=(1.0, 1.0, 1.0)",
        "the group rates are ignored",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/phases.py",
        "weight_decay=config.weight_decay",
        "weight_decay=1e-4",
        "the weight decay is ignored",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/phases.py",
        "frozen = frozen_stages(phase.unfrozen, task.num_stages)",
        "frozen = 0",
        "statistics of frozen stages move",
        RUNS,
    ),
    # epochs
    Mutant(
        "jaxssd/training/epochs.py",
        "jax.random.fold_in(key, epoch)",
        "key",
        "every epoch has the same order",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/epochs.py",
        "jax.random.permutation(jax.random.fold_in(key, epoch), sizes.num_images)",
        "jax.random.randint(jax.random.fold_in(key, epoch), (sizes.num_images,), 0, sizes.num_images)",
        "images are drawn with replacement",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/epochs.py",
        "jax.random.split(jax.random.key(seed))",
        "jax.random.split(jax.random.key(0))",
        "the seed is ignored",
        STEPS,
    ),
    Mutant(
        "jaxssd/training/epochs.py",
        "return order_key, step_key",
        "return step_key, step_key",
        "the order and the steps share a key",
        STEPS,
    ),
    # checkpoints
    Mutant(
        "jaxssd/training/restore.py",
        'checkpoints.best_step if which == "best" else None',
        "None",
        "the best checkpoint is the last",
        f"{RUNS}::test_best_and_last_are_restored_as_they_are_called",
    ),
    Mutant(
        "jaxssd/training/checkpoint.py",
        "-math.inf if math.isnan(",
        "math.inf if math.isnan(",
        "a NaN is the best score",
        f"{RUNS}::test_the_best_checkpoint_has_the_highest_score",
    ),
    Mutant(
        "jaxssd/training/checkpoint.py",
        'math.isnan(metrics["score"]) else metrics["score"]',
        'math.isnan(metrics["score"]) else -metrics["score"]',
        "the worst checkpoint is the best",
        f"{RUNS}::test_the_best_checkpoint_has_the_highest_score",
    ),
    Mutant(
        "jaxssd/training/loop.py",
        'self.validate_at(step, state.variables)["objective"]',
        '-self.validate_at(step, state.variables)["loss"]',
        "the best checkpoint has the least loss",
        f"{RUNS}::test_the_score_of_the_best_is_the_validations_objective_whatever_the_loss",
    ),
    # the learning-rate finder, rows, evaluation
    Mutant("jaxssd/training/lr_finder.py", "SAFETY = 10.0", "SAFETY = 0.1", "a suggestion above the valley"),
    Mutant("jaxssd/training/lr_finder.py", "(step / (steps - 1))", "(step / steps)", "the sweep stops short"),
    Mutant("jaxssd/training/lr_finder.py", "(1 - SMOOTHING ** (step + 1))", "1", "no correction of the start"),
    Mutant("jaxssd/training/rows.py", "first_step + offset + 1", "first_step + offset", "steps from 0", RUNS),
    Mutant(
        "jaxssd/training/evaluation.py",
        "[:num_rows], *host)",
        ", *host)",
        "copies of the last row are scored",
        "tests/training/test_run.py::test_last_batch_is_padded_and_cut",
    ),
    # the job
    Mutant(
        "jaxssd/training/job.py",
        "restore(run, mesh=mesh)",
        'restore(run, "last", mesh=mesh)',
        "the last is scored",
        JOB,
    ),
    Mutant(
        "jaxssd/training/job.py",
        'load_split(config, split) for split in ("train", "val"))',
        'load_split(config, split) for split in ("val", "train"))',
        "trained on what is validated on",
        JOB,
    ),
    Mutant(
        "jaxssd/training/job.py",
        'train_set = load_split(config, "train")',
        'train_set = load_split(config, "val")',
        "swept on the validation set",
        JOB,
    ),
    Mutant(
        "jaxssd/training/backbone.py",
        "jax.random.key(config.seed,",
        "jax.random.key(0,",
        "the seed decides no parameter",
        JOB,
    ),
    Mutant("jaxssd/training/lr_finder.py", "config.phases[0]", "config.phases[-1]", "the last phase is swept", JOB),
    Mutant(
        "jaxssd/training/lr_finder.py", ".permutation(len(train_set.ids))", ".permutation(1)", "one image is swept", JOB
    ),
    Mutant(
        "jaxssd/training/rows.py",
        "float(np.mean(values))",
        "float(np.sum(values))",
        "a sum over the validation set",
        JOB,
    ),
    Mutant(
        "jaxssd/training/run_folder.py",
        'row["step"] <= last',
        'row["step"] < last',
        "a row is lost at each resume",
        RUNS,
    ),
    Mutant(
        "jaxssd/training/feed.py",
        "(array[of_piece] for array in",
        "(array[: len(of_piece)] for array in",
        "streamed images with the boxes of others",
        "tests/training/test_feed.py::test_both_feeds_give_the_same_batches",
    ),
)
