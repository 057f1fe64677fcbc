"""Overrides for tests of the page: whatever a test says they are, or no answer."""

from dataclasses import asdict, dataclass, field
from typing import Any

from page.wishes import NoAnswerError, Override


@dataclass
class GivenOverrides:
    """A source of overrides that can be cut."""

    standing: list[Override] = field(default_factory=list)
    ended: list[Override] = field(default_factory=list)
    refused: str | None = None
    cut: bool = False

    def now(self) -> dict[str, Any]:
        if self.cut:
            raise NoAnswerError("The shadow does not answer: nobody is there.")
        return {"standing": [asdict(one) for one in self.standing], "refused": self.refused}

    def known(self) -> list[Override]:
        return [*self.ended, *self.standing]
