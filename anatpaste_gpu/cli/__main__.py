"""python -m anatpaste_gpu.cli is the command anatpaste."""

from anatpaste_gpu.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
