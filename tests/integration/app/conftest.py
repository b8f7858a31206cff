"""What the tests of all pages rely on."""

from __future__ import annotations

import pytest
from streamlit.components.v2 import manifest_scanner


@pytest.fixture(autouse=True)
def _no_components_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each run of a page the reading of every installed package's metadata, 0.4 s.

    Streamlit looks there for components; the pages use none.
    """
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", list)
