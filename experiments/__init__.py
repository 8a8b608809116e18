"""Long trainings. ``python -m experiments.NAME`` writes results and weights.

Each writes ``results/NAME.json`` with every seed's value, hardware, versions and
seconds, and ``weights/NAME-seedK.safetensors``. An interrupted run goes on where it
was. ``--smoke`` runs the whole path in seconds, into a temporary folder.
"""
