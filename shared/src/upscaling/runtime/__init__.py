"""Device, memory, convolutions and linear layers on a CPU, the cache of loaded models, and progress."""
