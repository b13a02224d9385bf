"""Stand-ins for software that can't be had on a development machine; as strict as its documentation, for tests only."""
