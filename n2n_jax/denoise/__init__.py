"""A trained model used on images and files."""
