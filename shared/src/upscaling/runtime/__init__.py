"""What every network runs on: the device, its memory, and the progress of a request."""
