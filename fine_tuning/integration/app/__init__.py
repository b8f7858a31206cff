"""The chatbot's own pages: chat, conversations, train, evaluate, models, doctor."""
