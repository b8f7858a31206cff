"""From chats to clean conversations."""
