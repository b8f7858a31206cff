"""CPU kernels of the engine: C++ where it was built, torch everywhere else, one interface."""
