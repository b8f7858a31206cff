"""The embedded runtime over HTTP, as Ollama's and OpenAI's clients expect a server to speak."""
