"""The one small language every room speaks: pure values, ports and errors. Standard library only."""
