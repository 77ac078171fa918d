"""HTTP interface: reads stored data, accepts posted readings."""
