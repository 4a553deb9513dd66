"""What can go wrong, as one small family.

StandinError
├── ConfigurationError    the configuration is refused; carries every reason
├── ExpressionError       a VRL expression cannot be compiled
└── UnreachableError      `tap` found no running stand-in behind the URL
"""


class StandinError(Exception):
    """Anything that this program refuses, with a message meant for people."""


class ConfigurationError(StandinError):
    """A configuration was refused.

    reasons: one sentence each, in the order in which they were found.
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class ExpressionError(StandinError):
    """A VRL expression cannot be compiled. The message says where, `… at 1:7`."""


class UnreachableError(StandinError):
    """Nothing answers at the API address."""
