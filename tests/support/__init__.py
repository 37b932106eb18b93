"""The parts that tests share: the oracle, strategies, stand-ins for a kernel and a machine."""
