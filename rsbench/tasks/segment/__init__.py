"""The segmentation task: a class for every pixel of an image."""
