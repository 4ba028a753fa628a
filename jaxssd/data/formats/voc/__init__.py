"""PASCAL VOC: XML annotations, one for each image."""
