"""PASCAL VOC as prepared by TensorFlow Datasets."""
