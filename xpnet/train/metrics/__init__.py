"""Figures: of classes, labels and numbers, custom ones, and the average loss of an epoch."""
