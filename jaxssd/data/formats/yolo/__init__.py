"""YOLO: text files of normalised boxes, one for each image."""
