#!/usr/bin/env bash
# One run over all GPUs of a SLURM job, one process per GPU. Call it from the project's root:
#
#   sbatch launch/slurm.sh --config configs/unet_gauss.py --workdir runs/unet --config.data.batch_size=64
#   sbatch --nodes 4 --partition gpu launch/slurm.sh ...      (sbatch's own options come first)
#
# All nodes must see the project folder and the workdir. Before the time limit SLURM sends SIGTERM:
# the processes agree on a step, save it and exit, and the job is requeued and resumes from it.
#SBATCH --job-name=n2n_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue
#SBATCH --output=slurm-%j.out
set -euo pipefail
root=${SLURM_SUBMIT_DIR:-$PWD}
export EXTRAS=${EXTRAS:-dev,cuda}
"$root/launch/local.sh" true # installs once, before the processes start
status=0
srun "$root/launch/local.sh" python -m n2n_jax.main "$@" --config.train.distributed=auto || status=$?
if [ "$status" = 130 ]; then # stopped and saved
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
