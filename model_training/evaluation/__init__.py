"""How well a model agrees with a reference: counted per scan, put together over scans, and told.

``case_figures`` counts one scan, ``summary`` makes figures with intervals of many, and
``markdown_report``, ``plots`` and ``pictures`` tell them. What runs a model over scans is
:mod:`model_training.evaluate`.
"""
