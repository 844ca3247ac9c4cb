"""The check of a submitted model: that its prediction of a row depends on that row alone.

- `check`: `check_model`, its limits, and what it makes of a file;
- `tensors`: what is known of a tensor before a row is seen, and constants;
- `nodes`: one node as rules see it; `operators`, `shapes`, `classic`: rules for the operators that may be used.

The SDK runs it before anything is asked, and every enclave before anything is charged.
"""
