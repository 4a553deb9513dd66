"""The demo: ``run.py`` starts everything on one machine, ``vector`` stands in where no Vector is installed."""
