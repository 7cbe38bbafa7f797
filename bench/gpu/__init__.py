"""What `make gpu-check` runs on a GPU: one program a stage, each of which writes one JSON file.

    python -m bench.gpu.parity [--output FILE] [--images DIR] [--kept DIR]

They need nothing but torch, NumPy and the package; `training` needs the package's extra `train` too.
"""
