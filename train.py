"""Trains an anomaly detector: python train.py --dataset demo --preset smoke --gpu -1 --output runs/smoke."""

from anatpaste_gpu.cli import train_command

if __name__ == "__main__":
    raise SystemExit(train_command())
