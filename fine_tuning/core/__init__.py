"""The small language every room speaks: pure values, ports, errors. Standard library only."""
