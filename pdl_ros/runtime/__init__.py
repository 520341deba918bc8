"""How this process uses the machine: threads, memory, compiled kernels, files."""
