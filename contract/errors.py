"""The root of the errors that a user can cause or mend."""


class SolarshedError(Exception):
    """Its text is one sentence that names what is wrong and the remedy. Each kind has a Python parent as well."""
