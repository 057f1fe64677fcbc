"""An error of ours as a finding."""

import errno
import os


def halves(text: str, otherwise: str) -> tuple[str, str]:
    """Sentence and remedy of one of our own errors, which have a semicolon between."""
    sentence, semicolon, remedy = text.rpartition("; ")
    if os.strerror(errno.EACCES) in text:
        # The installation lets only root and the services look into /etc/solarshed.
        remedy = "run doctor with sudo"
    return (sentence, remedy) if semicolon else (text, otherwise)
