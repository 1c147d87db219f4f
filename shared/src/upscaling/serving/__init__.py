"""The server side of every model: setup, work folder, downloads, input checks and the pipeline from file to file."""
