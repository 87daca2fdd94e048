"""How far simulated patients can be told from real ones, in figures and side by side."""
