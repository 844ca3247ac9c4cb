"""Adding encrypted partial sums. The gateway holds no key: it adds what it cannot read."""
