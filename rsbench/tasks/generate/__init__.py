"""The generation task: an image from a map of classes, a text and metadata."""
