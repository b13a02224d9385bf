"""Whether a machine is ready for its role, check by check, and what to do where it is not."""
