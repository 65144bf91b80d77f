"""The torch runtime: the fp32 reference on a CPU, and what runs on CUDA."""
