"""Infrastructure of a run: config, workdir, checkpoints, devices, signals, memory, errors."""
