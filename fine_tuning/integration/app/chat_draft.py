"""What is typed and not sent yet: kept by the browser, and there again after a reload."""

from __future__ import annotations

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

KEEPER = """
export default function ({ data }) {
  const key = "fine-tuning-draft-" + data.chat;
  const field = () => document.querySelector('[data-testid="stChatInputTextArea"]');
  const area = field();
  if (!area || area.dataset.keeps === key) return;
  area.dataset.keeps = key;
  const kept = localStorage.getItem(key);
  if (kept && !area.value) {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(area, kept);
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
  const keep = () => {
    if (area.value) localStorage.setItem(key, area.value);
    else localStorage.removeItem(key);
  };
  area.addEventListener("input", keep);
  area.addEventListener("keyup", () => setTimeout(keep, 50));
  area.addEventListener("blur", () => setTimeout(keep, 50));
}
"""


def keep_draft(chat_id: str) -> None:
    """Keep what is typed for a chat in this browser until it is sent."""
    _keeper()(data={"chat": chat_id}, key="draft-keeper", height=1)


@st.cache_resource(show_spinner=False)
def _keeper() -> ComponentRenderer:
    return st.components.v2.component("fine_tuning_draft", js=KEEPER)
