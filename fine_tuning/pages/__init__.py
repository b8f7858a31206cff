"""Self-contained pages: text, tables and plots as one HTML file, or as Markdown."""
