"""Convolution by cuDNN."""
