"""The roofline sheet: what the CUDA kernels move and do, counted, and how long they take, modelled."""
