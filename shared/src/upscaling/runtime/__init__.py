"""Device, memory, the cache of loaded models, and progress."""
