"""How fast this project is, side by side with others and with what no program can beat: `python -m benchmarks.speed`."""
