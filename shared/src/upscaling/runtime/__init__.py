"""Device, memory, convolutions on a CPU, the cache of loaded models, and progress."""
