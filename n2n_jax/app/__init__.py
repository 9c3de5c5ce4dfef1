"""The page: drop a noisy picture, press Denoise, compare. Opened by `n2n app`.

A thin skin over the rooms below. `server` answers the browser; `pictures` holds what was uploaded,
`views` shows it, `job_queue` takes turns between users, and `denoising`, `comparing`, `captures`
and `runs` call the rooms that do the work. The page itself is in `static/`.
"""
