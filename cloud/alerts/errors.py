"""What can go wrong on the way to PagerDuty: the two errors that differ in what the caller has to do."""


class PagerDutyBusy(Exception):  # noqa: N818 - named for the decision that the caller has to take
    """It may succeed later: the message must be delivered again."""


class PagerDutyRefused(Exception):  # noqa: N818
    """It will not succeed however often it is tried; the text says what a human can do."""
