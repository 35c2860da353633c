"""linear on CUDA: one product with its bias and activation."""
