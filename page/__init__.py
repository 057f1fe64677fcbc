"""The live page: a local web server over `timestream-query`, and static files that need no network."""
