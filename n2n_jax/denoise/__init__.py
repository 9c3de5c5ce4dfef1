"""Inference: trained models applied to arrays, images and files."""
