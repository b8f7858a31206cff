"""What a chatbot imports: Streamlit page and Ollama."""
