"""What the AWS half costs a device and month: counted calls of a simulated month times published list prices."""
