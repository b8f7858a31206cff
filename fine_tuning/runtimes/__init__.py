"""What serves a model: embedded llama.cpp and Ollama, behind the same ports."""
