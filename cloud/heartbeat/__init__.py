"""Objects in a bucket -> which device is silent or blind -> alert topic."""
