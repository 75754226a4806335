"""The processes that measure: serve.py takes requests, one engine_*.py for each engine.

They run in other environments than the project's, so but for what runs ours they import nothing of it.
"""
