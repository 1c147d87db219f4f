"""What stands between Cog and a model: setup, the work folder, checks of inputs, and the way from file to file."""
