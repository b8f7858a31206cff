"""Turns the chats a person has with a local chatbot into a measurably better local model."""
