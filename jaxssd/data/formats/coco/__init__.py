"""COCO: JSON files of images, annotations and categories."""
