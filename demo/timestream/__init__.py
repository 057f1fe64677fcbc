"""A stand-in for Amazon Timestream for LiveAnalytics on one machine: unchanged boto3 clients write to it and query it.

It answers as the service does where the service refuses, so that a caller's mistakes show here first. It differs in
this: writes are visible at once; writes to the magnetic store are checked at once and not later; records do not
expire; signatures are not checked; two columns whose names differ only in case cannot stand in one table.
"""
