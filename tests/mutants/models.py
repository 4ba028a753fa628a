"""Bugs planted in `models`."""

from tests.mutants.planted import Mutant

DETECTOR, HEADS, RESNET = "jaxssd/models/detector.py", "jaxssd/models/heads.py", "jaxssd/models/resnet.py"
LAYERS, FAST = "jaxssd/models/layers.py", "jaxssd/models/fast_layers.py"
FPN, RETINANET = "jaxssd/models/feature_pyramid.py", "jaxssd/models/retinanet_head.py"
OF_FPN, OF_RETINANET = "tests/models/test_feature_pyramid.py", "tests/models/test_retinanet_head.py"
DENSE, SSD300 = "jaxssd/models/dense_heads.py", "jaxssd/models/ssd300_head.py"
FIELD = "jaxssd/models/receptive_field.py"
OF_FIELD = "tests/models/test_receptive_field.py"
CONSTANTS = "tests/models/test_constants.py"
VGG, SSD300_VGG, NAMES = (
    "jaxssd/models/vgg.py",
    "jaxssd/models/ssd300_vgg_head.py",
    "jaxssd/models/torchvision_names.py",
)
OF_TORCHVISION = "tests/models/test_torchvision_retinanet.py"
OF_SSD300_VGG = "tests/models/test_ssd300_vgg.py"

PLANTED = (
    Mutant(DETECTOR, "(0.229, 0.224, 0.225)", "(0.225, 0.224, 0.229)", "the deviation in the order BGR", CONSTANTS),
    Mutant(DETECTOR, "(0.485, 0.456, 0.406)", "(0.406, 0.456, 0.485)", "the mean in the order BGR", CONSTANTS),
    Mutant(DETECTOR, "        x = x / 255", "        x = x / 256", "white is not 1", CONSTANTS),
    Mutant(
        DETECTOR,
        "frozen_stages=frozen_stages, **several",
        "frozen_stages=0, **several",
        "nothing freezes",
        "tests/models/test_detector.py::test_bfloat16_training_step_is_finite_and_respects_frozen_stages",
    ),
    Mutant(HEADS, "bias_init=self._prior_bias, name", "bias_init=nn.initializers.zeros, name", "no prior", CONSTANTS),
    Mutant(HEADS, "bias.at[:, -1].set(0)", "bias", "background has the prior of a class", CONSTANTS),
    Mutant(
        HEADS,
        "logits.reshape(batch, -1, self.num_classes)",
        "logits.reshape(batch, -1, self.num_classes, self.boxes_per_cell).swapaxes(2, 3)"
        ".reshape(batch, -1, self.num_classes)",
        "classes before boxes",
        CONSTANTS,
    ),
    Mutant(
        HEADS,
        "stride = 1 if level == 0 else 2",
        "stride = 2 if level == 0 else 1",
        "the wrong map shrinks",
        "tests/models/test_heads.py::test_every_selection_of_the_pyramid_gives_a_row_an_anchor",
    ),
    Mutant(
        HEADS,
        "return nn.Dropout(self.input_dropout,",
        "return nn.Dropout(self.dropout,",
        "one dropout for both",
        "tests/models/test_heads.py::test_backbone_features_are_dropped_too",
    ),
    Mutant(LAYERS, "EPSILON = 1e-5", "EPSILON = 1e-3", "another epsilon", CONSTANTS),
    Mutant(LAYERS, "MOMENTUM = 0.9", "MOMENTUM = 0.99", "another momentum", CONSTANTS),
    Mutant(
        FAST,
        "running_mean.value + (1 - MOMENTUM) * mean",
        "running_mean.value + MOMENTUM * mean",
        "momentum turned",
        "tests/models/test_norm.py::test_statistics_are_flaxs_to_the_last_bits",
    ),
    Mutant(
        RESNET,
        "frozen = stage <= frozen_stages",
        "frozen = stage < frozen_stages",
        "a stage too few freezes",
        "tests/models/test_resnet.py::test_frozen_stages_behave_as_in_evaluation",
    ),
    Mutant(
        RESNET,
        "train=train and frozen_stages == 0",
        "train=train",
        "the stem's statistics never freeze",
        "tests/models/test_resnet.py::test_frozen_stages_behave_as_in_evaluation",
    ),
    Mutant(
        RESNET,
        "padding=size // 2",
        'padding="SAME"',
        "padding of another kind",
        "tests/models/test_resnet.py::test_stride_two_reads_the_even_pixels",
    ),
    Mutant(RESNET, "stage_sizes=(3, 4, 6, 3))", "stage_sizes=(3, 4, 3, 6))", "blocks of other stages", CONSTANTS),
    Mutant(
        DENSE,
        "out[:, :4], out[:, 4:]",
        "out[:, -4:], out[:, :-4]",
        "classes before the box",
        "tests/models/test_dense_heads.py::test_object_head_is_relu_linear_relu_norm_linear",
    ),
    Mutant(
        SSD300,
        "(128, 256, 2, 1)",
        "(128, 256, 1, 1)",
        "a map that does not shrink",
        "tests/models/test_ssd300_head.py::test_detector_predicts_for_every_anchor",
    ),
    Mutant(
        FIELD,
        "first * stride // 1 - kernel // 2",
        "first * stride // 1 - kernel",
        "a field too wide",
        "tests/models/test_receptive_field.py::test_known_stacks",
    ),
    Mutant(
        FPN, "reversed(range(len(inner) - 1))", "range(len(inner) - 1)", "nothing flows further than a level", OF_FPN
    ),
    Mutant(FPN, "x if level == len(maps) else nn.relu(x)", "nn.relu(x)", "no negative number enters P6", OF_FPN),
    Mutant(
        FPN, "down, right = -(-rows // height)", "down, right = 1 + (rows // height)", "too many repeats, cut", OF_FPN
    ),
    Mutant(FPN, "[UPSAMPLING] * (start - level)", "[UPSAMPLING]", "a coarse map enlarged once", OF_FIELD),
    Mutant(RETINANET, 'use_bias=self.norm == "none"', "use_bias=True", "a bias before the norm", OF_RETINANET),
    Mutant(
        RETINANET,
        "out_conv(*features) for",
        "out_conv(features[0]) for",
        "boxes from the class tower",
        f"{OF_RETINANET}::test_class_tower_and_box_tower_are_two",
    ),
    Mutant(RETINANET, "_level{level}", "", "statistics of all levels in one", OF_RETINANET),
    Mutant(
        RESNET,
        "stage == last or self.strides[stage] > 1",
        "True",
        "two levels of one stride",
        f"{OF_RETINANET}::test_every_backbone_and_size_gives_a_row_an_anchor",
    ),
    Mutant(
        HEADS,
        "if finer:",
        "if not finer:",
        "finer grids left out",
        "tests/models/test_heads.py::test_finer_grids_leave_the_others_as_they_are",
    ),
    Mutant(
        "jaxssd/models/coco_classes.py", "start=1", "start=0", "gaps have other ids", "tests/models/test_published.py"
    ),
    Mutant("jaxssd/models/download.py", "if found != published.sha256", "if not found", "any file will do"),
    Mutant("jaxssd/models/download.py", "if done < size", "if done < 0", "a part is called damaged, and not cut short"),
    Mutant("jaxssd/models/download.py", "in (torch_cache(), ", "in (", "downloaded though torch has it"),
    Mutant(VGG, "to_even = [(0, side % 2)", "to_even = [(side % 2, 0)", "windows from another pixel on", OF_SSD300_VGG),
    Mutant(
        SSD300_VGG, "maps\n        x = nn.max_pool", "maps\n        x = nn.avg_pool", "another pooling", OF_SSD300_VGG
    ),
    Mutant(SSD300_VGG, "DILATION = 6", "DILATION = 5", "another dilation", OF_SSD300_VGG),
    Mutant(SSD300_VGG, "anchor_sizes, largest=300.0", "anchor_sizes", "anchors beyond the image", OF_SSD300_VGG),
    Mutant(NAMES, "OFFSET_ROWS = [1, 0, 3, 2]", "OFFSET_ROWS = [0, 1, 2, 3]", "x and y change places", OF_SSD300_VGG),
    Mutant(NAMES, "np.roll(rows, -1, axis=1)", "np.roll(rows, 0, axis=1)", "background first", OF_SSD300_VGG),
    Mutant(
        NAMES,
        "(variance + EPSILON) / variance",
        "variance / (variance + EPSILON)",
        "epsilon twice",
        f"{OF_TORCHVISION}::test_frozen_norms_have_no_epsilon",
    ),
    Mutant(
        NAMES,
        r"_blocks.\2.0",
        r"_blocks.\2.1",
        "another block of the pyramid",
        f"{OF_TORCHVISION}::test_every_tensor_has_its_place",
    ),
    Mutant(
        RETINANET,
        'extra_levels_from == "backbone"',
        'extra_levels_from == "pyramid"',
        "P6 from the other map",
        f"{OF_TORCHVISION}::test_presets_are_the_published_networks",
    ),
)
