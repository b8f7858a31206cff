"""The training engine: packed weights, decoder with hand-written backward, adapters, kernels."""
