"""The kernels for NVIDIA GPUs: CUDA C++ on raw pointers and the caller's stream, loaded by ctypes."""
