"""Run untrusted programs on blocks of rows.

- `sandbox`: `Sandbox`, what its users see, and what may come out of a program;
- `limits`: what a program may use, what isolates it, why it may be refused; `blocks`: rows as bytes;
- `zygote_process`, `cgroup`: the host's side; `zygote`, `preload`: the process that blocks are forked from;
- `harness`: the process of one block; `system_calls`, `frozen_clock`: what the kernel is told to refuse it;
- `canaries`: the self-test.

Nothing here imports pyarrow but `blocks`: the zygote leaves its namespaces before anything starts a thread.
"""

from enclave_sim.sandbox.limits import Limits, Profile, SandboxUnavailableError
from enclave_sim.sandbox.sandbox import EndedError, Sandbox

__all__ = ["EndedError", "Limits", "Profile", "Sandbox", "SandboxUnavailableError"]
