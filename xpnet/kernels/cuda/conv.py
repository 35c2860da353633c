"""conv2d on CUDA: cuDNN where it can, else unrolled columns and a product."""
