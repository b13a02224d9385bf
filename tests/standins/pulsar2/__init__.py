"""A stand-in for the vendor's converter: its documented command line, config, log and files, no compiler."""
