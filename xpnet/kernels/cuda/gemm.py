"""Products of matrices by cuBLASLt."""
