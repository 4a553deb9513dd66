"""The Signalbox agent: keeps a node's Vector pipelines as the server wants them, and says how they are.

It travels alone (standard library, requests, websocket-client), so nothing in here may import ``app``.
"""

__version__ = "0.1.0"
