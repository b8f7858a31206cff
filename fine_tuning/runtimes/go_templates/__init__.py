"""Go's text/template as Ollama uses it: parsed, run within limits, and Ollama's own layer above."""
