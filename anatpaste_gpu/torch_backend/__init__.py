"""Every operator in plain torch, for devices without a compiled kernel: exact, and slow."""
