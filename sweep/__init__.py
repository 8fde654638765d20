"""Sweeps of balanced multimodal learning: configuration, training loop, engine, results, reports.

python -m sweep --help
"""
