"""Figures: of classes, labels and numbers, of one's own, and the average loss of an epoch."""
