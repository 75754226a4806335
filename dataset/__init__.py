"""From images with annotations to packed records, and from those to training batches.

The way: a reader (`voc`) makes Samples; `checks` and `pack` turn them into records with a manifest; `records` reads
those back for evaluation and `iterator` for training. Nothing here knows a network.
"""
