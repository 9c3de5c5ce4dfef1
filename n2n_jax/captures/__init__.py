"""The user's noisy images: found, put right, measured, held out."""
