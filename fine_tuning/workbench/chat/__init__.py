"""Chatting in the workspace: chats and their list, models to talk to, serving them to others."""
