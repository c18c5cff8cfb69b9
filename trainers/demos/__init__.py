"""Small programs that learn small tasks on the kernels, each from beginning to end, as scripts and as notebooks."""
