# n2n_jax for a CPU; for an NVIDIA GPU: docker build --build-arg EXTRAS=cuda -t n2n_jax:cuda .
#
#   docker build -t n2n_jax .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" n2n_jax audit captures/
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" --gpus all \
#     n2n_jax:cuda train captures/ --workdir runs/mine
FROM python:3.13-slim

# Comma-separated, as in n2n_jax[cuda,exr]; see pyproject.toml.
ARG EXTRAS=exr
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY n2n_jax n2n_jax
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --root-user-action=ignore ".[${EXTRAS}]"

# Any user may run it (--user): what is compiled and cached goes where all may write. Large pages for
# large arrays: see docs/performance.md.
ENV HOME=/home/n2n PYTHONUNBUFFERED=1 GLIBC_TUNABLES=glibc.malloc.hugetlb=1
RUN useradd --uid 1000 --create-home n2n && chmod 1777 /home/n2n
USER 1000
WORKDIR /data
ENTRYPOINT ["n2n"]
CMD ["--help"]
