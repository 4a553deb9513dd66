"""The push channel. Nothing in here imports Flask or the models.

``hub`` holds this worker's sockets, ``broker`` carries messages between processes, ``presence`` says who is
connected anywhere; they do not know each other. ``switchboard`` joins them.
"""
