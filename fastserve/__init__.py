"""The package root: the public names, imported on first use. Nothing inside the package imports this module."""
