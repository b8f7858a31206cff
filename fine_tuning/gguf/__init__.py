"""GGUF files: read, write, dequantise. numpy, no torch."""
