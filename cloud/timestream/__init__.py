"""CloudFormation -> the columns of the tables."""
