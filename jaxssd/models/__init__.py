"""Flax Linen modules: backbones, heads, and the detector they make."""

from jaxssd.models.dense_heads import BoxHead, LabelHead, ObjectHead, ObjectPredictions
from jaxssd.models.detector import IMAGENET_MEAN, IMAGENET_STD, Detector, HeadName, make_detector, normalize_images
from jaxssd.models.fast_layers import FastLayer
from jaxssd.models.heads import OutConv, Predictions, PyramidHead, SSDHead, SSDMultiHead, StdConv, pyramid_grids
from jaxssd.models.pretrained import load_pretrained
from jaxssd.models.resnet import BACKBONES, BasicBlock, Bottleneck, ResNet
from jaxssd.models.ssd300_head import SSD300Head

__all__ = [
    "BACKBONES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "BasicBlock",
    "Bottleneck",
    "BoxHead",
    "Detector",
    "FastLayer",
    "HeadName",
    "LabelHead",
    "ObjectHead",
    "ObjectPredictions",
    "OutConv",
    "Predictions",
    "PyramidHead",
    "ResNet",
    "SSD300Head",
    "SSDHead",
    "SSDMultiHead",
    "StdConv",
    "load_pretrained",
    "make_detector",
    "normalize_images",
    "pyramid_grids",
]
