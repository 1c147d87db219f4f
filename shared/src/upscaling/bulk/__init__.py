"""Bulk jobs: a model over all pictures in a folder or bucket, on Ray. Needs the extra `bulk` of the package."""
