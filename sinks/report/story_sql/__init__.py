"""The questions of `kairos why` and `kairos profile`."""
