"""What a run stands on: config, workdir, checkpoint, parallel, rng, memory, errors."""
