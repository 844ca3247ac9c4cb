"""What an enclave asks of the platform below it: `Backend`; the simulator is one of them."""
