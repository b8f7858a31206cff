"""A chatbot on Ollama, or on the embedded runtime behind `fine-tuning serve`, that learns.

Run it with `streamlit run examples/streamlit_chatbot.py`. The lines that say fine_tuning record
every turn, ask for opinions and offer the tuned models; without them it is a plain chatbot.
"""

import json
import os

import httpx
import streamlit as st

from fine_tuning.integration import streamlit_fine_tuning

SERVER = os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
MODEL = os.environ.get("CHATBOT_MODEL", "llama3.2")


def reply(model, messages):
    """Stream the server's reply."""
    question = {"model": model, "messages": messages}
    with httpx.stream("POST", f"{SERVER}/api/chat", json=question, timeout=600) as answer:
        for line in answer.iter_lines():
            said = json.loads(line)
            yield said.get("message", {}).get("content", "") or said.get("error", "")


st.title("Chatbot")
messages = st.session_state.setdefault("messages", [])
model = MODEL
model = streamlit_fine_tuning.sidebar(MODEL)
for message in messages:
    st.chat_message(message["role"]).markdown(message["content"])
if question := st.chat_input("Ask me anything"):
    messages.append({"role": "user", "content": question})
    st.chat_message("user").markdown(question)
    said = st.chat_message("assistant").write_stream(reply(model, messages))
    messages.append({"role": "assistant", "content": said})
streamlit_fine_tuning.log_turns(messages, model=model)
